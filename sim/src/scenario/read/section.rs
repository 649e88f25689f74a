//! Tables and values with their places, so that whatever is wrong can be pointed at.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ScenarioError, ScenarioText, nearest, not_known};
use crate::scenario::{Between, Scalar};

/// One table of a scenario. It learns the keys it may have by being asked for them; [`Section::finish`] refuses
/// the others.
pub(super) struct Section<'a> {
    source: &'a ScenarioText<'a>,
    table: &'a DeTable<'a>,
    path: String,
    place: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

/// One value of a table or of a list.
pub(super) struct Field<'a> {
    source: &'a ScenarioText<'a>,
    value: &'a Spanned<DeValue<'a>>,
    path: String,
}

impl<'a> Section<'a> {
    /// The table of the whole file.
    pub(super) fn root(source: &'a ScenarioText<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            source,
            table: table.get_ref(),
            path: String::new(),
            place: table.span(),
            known: RefCell::default(),
        }
    }

    /// The value of `key`, if there is one.
    pub(super) fn get(&self, key: &'static str) -> Option<Field<'a>> {
        self.known.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(Field {
            source: self.source,
            value,
            path: self.path_of(key),
        })
    }

    /// The value of `key`, without which the table makes no sense.
    pub(super) fn need(&self, key: &'static str) -> Result<Field<'a>, ScenarioError> {
        if let Some(field) = self.get(key) {
            return Ok(field);
        }
        // A slip in the key itself is the likelier reason.
        for (found, _) in self.table {
            if nearest(found.get_ref(), &[key]).is_some() {
                let what = format!("`{}` is no key; did you mean `{key}`?", found.get_ref());
                let path = self.path_of(found.get_ref());
                return Err(self.source.wrong(found.span(), &path, what));
            }
        }
        let what = format!("`{key}` is missing");
        Err(self.source.wrong(self.place.clone(), &self.path, what))
    }

    /// A range, or `default`.
    pub(super) fn range<T: Scalar>(
        &self,
        key: &'static str,
        allowed: Between<T>,
        default: Between<T>,
    ) -> Result<Between<T>, ScenarioError> {
        self.get(key)
            .map_or(Ok(default), |field| field.range(allowed))
    }

    /// One value, or `default`.
    pub(super) fn one<T: Scalar>(
        &self,
        key: &'static str,
        allowed: Between<T>,
        default: T,
    ) -> Result<T, ScenarioError> {
        self.get(key)
            .map_or(Ok(default), |field| field.one(allowed))
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(&self) -> Result<(), ScenarioError> {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let what = not_known(name, "key", &known);
                return Err(self.source.wrong(key.span(), &self.path_of(name), what));
            }
        }
        Ok(())
    }

    /// An error about the table as a whole.
    pub(super) fn wrong(&self, what: impl Into<String>) -> ScenarioError {
        self.source
            .wrong(self.place.clone(), &self.path, what.into())
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.path)
    }
}

impl<'a> Field<'a> {
    /// The value, if it is a text.
    pub(super) fn text(&self) -> Result<&'a str, ScenarioError> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            other => Err(self.unlike(other, "text")),
        }
    }

    /// Yes or no.
    pub(super) fn flag(&self) -> Result<bool, ScenarioError> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            other => Err(self.unlike(other, "`true` or `false`")),
        }
    }

    /// What the text names among `choices`.
    pub(super) fn choice<T: Clone>(
        &self,
        as_what: &str,
        choices: &[(&str, T)],
    ) -> Result<T, ScenarioError> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        let found = found.map(|(_, value)| value.clone());
        found.ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(not_known(text, as_what, &names))
        })
    }

    /// What one text or a list of texts names among `choices`; at least one.
    pub(super) fn choices<T: Clone>(
        &self,
        as_what: &str,
        choices: &[(&str, T)],
    ) -> Result<Vec<T>, ScenarioError> {
        let chosen = self.items().into_iter().map(|f| f.choice(as_what, choices));
        let chosen: Vec<T> = chosen.collect::<Result<_, _>>()?;
        if chosen.is_empty() {
            return Err(self.wrong(format!("name at least one {as_what}")));
        }
        Ok(chosen)
    }

    /// The items of a list, or the value itself.
    pub(super) fn items(&self) -> Vec<Field<'a>> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return vec![self.part(self.value, self.path.clone())];
        };
        let items = items.iter().enumerate();
        items
            .map(|(index, value)| self.part(value, format!("{}[{}]", self.path, index + 1)))
            .collect()
    }

    /// The value, if it is a table.
    pub(super) fn section(&self) -> Result<Section<'a>, ScenarioError> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section {
                source: self.source,
                table,
                path: self.path.clone(),
                place: self.value.span(),
                known: RefCell::default(),
            }),
            other => Err(self.unlike(other, "a table")),
        }
    }

    /// A range: `"1s..5s"`, `["1s", "5s"]` or one value.
    pub(super) fn range<T: Scalar>(
        &self,
        allowed: Between<T>,
    ) -> Result<Between<T>, ScenarioError> {
        let range = match self.value.get_ref() {
            DeValue::String(text) => return self.range_in(text, allowed),
            DeValue::Array(items) => match self.items().as_slice() {
                [min, max] => Between::new(min.one(allowed)?, max.one(allowed)?),
                _ => {
                    let count = items.len();
                    return Err(self.wrong(format!("a range has two ends, not {count}")));
                }
            },
            _ => self.one(allowed)?.into(),
        };
        self.within(range, allowed)
    }

    /// A range in a part of this value's text.
    pub(super) fn range_in<T: Scalar>(
        &self,
        text: &str,
        allowed: Between<T>,
    ) -> Result<Between<T>, ScenarioError> {
        let range = match text.split_once("..") {
            Some((min, max)) => Between::new(self.scalar(min)?, self.scalar(max)?),
            None => self.scalar::<T>(text)?.into(),
        };
        self.within(range, allowed)
    }

    /// A value that must not be a range, within `allowed`.
    pub(super) fn one<T: Scalar>(&self, allowed: Between<T>) -> Result<T, ScenarioError> {
        let value = match self.value.get_ref() {
            DeValue::String(text) => self.scalar(text)?,
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                let value = number.ok().and_then(T::from_number);
                value.ok_or_else(|| self.wrong(format!("this must be {}", T::WRITTEN)))?
            }
            other => return Err(self.unlike(other, T::WRITTEN)),
        };
        self.within(Between::only(value), allowed)
            .map(|range| range.min)
    }

    /// An error about this value.
    pub(super) fn wrong(&self, what: impl Into<String>) -> ScenarioError {
        self.source
            .wrong(self.value.span(), &self.path, what.into())
    }

    fn scalar<T: Scalar>(&self, text: &str) -> Result<T, ScenarioError> {
        let text = text.trim();
        T::from_text(text)
            .ok_or_else(|| self.wrong(format!("`{text}` is no value here: write {}", T::WRITTEN)))
    }

    fn within<T: Scalar>(
        &self,
        range: Between<T>,
        allowed: Between<T>,
    ) -> Result<Between<T>, ScenarioError> {
        if range.min > range.max {
            let (min, max) = (range.min, range.max);
            return Err(self.wrong(format!(
                "a range begins with its smaller end: `{max}..{min}`"
            )));
        }
        if allowed.holds(&range) {
            return Ok(range);
        }
        let (min, max) = (allowed.min, allowed.max);
        Err(self.wrong(format!("`{range}` is out of bounds: {min} to {max}")))
    }

    fn unlike(&self, found: &DeValue<'_>, wanted: &str) -> ScenarioError {
        let found = found.type_str();
        self.wrong(format!("this must be {wanted}, not a TOML {found}"))
    }

    fn part(&self, value: &'a Spanned<DeValue<'a>>, path: String) -> Field<'a> {
        Field {
            source: self.source,
            value,
            path,
        }
    }
}
