//! A table of rows that several processes reach: what a database would be, and how its answers get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use leasebridge::core::ids::SegmentNo;
use leasebridge::journal::{Generation, Position};
use tokio::sync::watch;

use super::super::fixture::{Fate, Turn};

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) generation: Generation,
    pub(crate) end: Position,
    pub(crate) crc: u32,
    pub(crate) bytes: Bytes,
}

/// What a writer takes for the last row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) generation: Generation,
    pub(crate) end: Position,
    pub(crate) crc: u32,
}

/// The database is away, or has lost its connection: what it did is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// The row is not the next one, or its writer not the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<Position, Row>,
    /// Answers to appends that get lost from now on.
    lose: u32,
    /// Whether what they answer has been done.
    lose_done: bool,
}

/// The rows of one log, by where in the log each batch begins; and who may write them.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Mutex<Rows>,
    tenure: watch::Sender<Generation>,
    away: watch::Sender<bool>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            tenure: watch::Sender::new(Generation::default()),
            away: watch::Sender::new(false),
        }
    }
}

/// One process's way to the table. Once its process is dead, nothing on it returns.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    table: Arc<Table>,
    fate: Arc<Fate>,
}

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    /// The answers to the next `count` appends get lost, whether they are `done` or not.
    pub(crate) fn lose_answers(&self, count: u32, done: bool) {
        let mut rows = self.rows();
        (rows.lose, rows.lose_done) = (count, done);
    }

    /// Nobody reaches it, until somebody does again.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    pub(crate) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    /// Who may write.
    pub(crate) fn tenure(&self) -> Generation {
        *self.tenure.borrow()
    }

    /// Somebody else may write from now on.
    pub(crate) fn take_over(&self) {
        self.tenure
            .send_modify(|tenure| *tenure = Generation(tenure.0 + 1));
    }

    /// Completes when somebody else may write.
    pub(crate) async fn taken_from(&self, generation: Generation) {
        let mut tenure = self.tenure.subscribe();
        let taken = tenure.wait_for(|now| *now != generation).await;
        taken.expect("the table outlives those who wait");
    }

    /// The segments of which it has rows.
    pub(crate) fn segments(&self) -> BTreeSet<SegmentNo> {
        self.rows().rows.keys().map(|at| at.segment()).collect()
    }

    /// Forgets all rows of the first segment.
    pub(crate) fn lose_oldest(&self) {
        let mut rows = self.rows();
        let oldest = rows.rows.keys().next().unwrap().segment();
        rows.rows.retain(|at, _| at.segment() != oldest);
    }

    /// Flips a bit of a row in the middle.
    pub(crate) fn rot(&self) {
        let mut rows = self.rows();
        let middle = rows.rows.len() / 2;
        let row = rows.rows.values_mut().nth(middle).unwrap();
        let mut bytes = row.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 4;
        row.bytes = bytes.into();
    }
}

impl Connection {
    pub(crate) fn new(table: Arc<Table>, fate: Arc<Fate>) -> Self {
        Self { table, fate }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// One use of the table. The last one of a process is done, in the second way to die, and never answered.
    async fn use_it<T>(&self, operation: impl FnOnce(&mut Rows) -> T) -> T {
        let mut away = self.table.away.subscribe();
        let back = away.wait_for(|away| !*away).await;
        drop(back.expect("the table outlives its connections"));
        match self.fate.turn() {
            Turn::Goes => return operation(&mut self.table.rows()),
            Turn::Last(1) => drop(operation(&mut self.table.rows())),
            Turn::Last(_) | Turn::Never => {}
        }
        std::future::pending().await
    }

    /// Raises the tenure above `seen`, if nobody has meanwhile.
    pub(crate) async fn take(&self, seen: Generation) -> Option<Generation> {
        let tenure = &self.table.tenure;
        self.use_it(|_| {
            let next = Generation(seen.0 + 1);
            let raised = tenure.send_if_modified(|now| {
                let unchanged = *now == seen;
                if unchanged {
                    *now = next;
                }
                unchanged
            });
            raised.then_some(next)
        })
        .await
    }

    /// Inserts a row behind `tail`, under the conditions that make it a log.
    pub(crate) async fn append(
        &self,
        at: Position,
        row: &Row,
        tail: Tail,
    ) -> Result<Result<(), Refused>, Lost> {
        let tenure = &self.table.tenure;
        self.use_it(|rows| {
            let lost = rows.lose > 0;
            rows.lose = rows.lose.saturating_sub(1);
            if lost && !rows.lose_done {
                return Err(Lost);
            }
            let inserted = rows.insert(*tenure.borrow(), at, row, tail);
            if lost { Err(Lost) } else { Ok(inserted) }
        })
        .await
    }

    /// The row that begins there.
    pub(crate) async fn row(&self, at: Position) -> Option<Row> {
        self.use_it(|rows| rows.rows.get(&at).cloned()).await
    }

    /// All rows, or those of one segment, as they are at one moment.
    pub(crate) async fn rows(&self, segment: Option<SegmentNo>) -> Vec<(Position, Row)> {
        self.use_it(|rows| {
            let all = rows.rows.iter();
            all.filter(|(at, _)| segment.is_none_or(|segment| at.segment() == segment))
                .map(|(at, row)| (*at, row.clone()))
                .collect()
        })
        .await
    }

    /// The row in which this place lies.
    pub(crate) async fn row_around(&self, at: Position) -> Option<(Position, Row)> {
        self.use_it(|rows| {
            let (begins, row) = rows.rows.range(..=at).next_back()?;
            let here = begins.segment() == at.segment();
            here.then(|| (*begins, row.clone()))
        })
        .await
    }

    /// Removes the rows of a segment and of those before it, but never the last row of all.
    pub(crate) async fn trim(&self, owner: Generation, segment: SegmentNo) -> Result<(), Refused> {
        let tenure = &self.table.tenure;
        self.use_it(|rows| {
            if *tenure.borrow() != owner {
                return Err(Refused);
            }
            let last = rows.rows.last_key_value().map(|(at, _)| *at);
            rows.rows
                .retain(|at, _| at.segment() > segment || Some(*at) == last);
            Ok(())
        })
        .await
    }
}

impl Rows {
    fn insert(
        &mut self,
        tenure: Generation,
        at: Position,
        row: &Row,
        tail: Tail,
    ) -> Result<(), Refused> {
        let empty = Tail {
            generation: Generation::default(),
            end: Position::default(),
            crc: 0,
        };
        let last = self.rows.last_key_value();
        let stands = last.map_or(empty, |(_, last)| Tail {
            generation: last.generation,
            end: last.end,
            crc: last.crc,
        });
        if tenure != row.generation || stands != tail || self.rows.contains_key(&at) {
            return Err(Refused);
        }
        self.rows.insert(at, row.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Position {
        Position::new(SegmentNo(1), offset)
    }

    fn row(generation: u32, end: u32, crc: u32) -> Row {
        Row {
            generation: Generation(generation),
            end: at(end),
            crc,
            bytes: Bytes::new(),
        }
    }

    fn tail(generation: u32, end: u32, crc: u32) -> Tail {
        Tail {
            generation: Generation(generation),
            end: at(end),
            crc,
        }
    }

    #[tokio::test]
    async fn a_row_is_taken_in_its_place_behind_its_predecessor_from_the_owner_alone() {
        let table = Arc::new(Table::default());
        let connection = Connection::new(Arc::clone(&table), Arc::default());
        let none = Tail {
            generation: Generation(0),
            end: Position::default(),
            crc: 0,
        };
        assert_eq!(connection.take(Generation(0)).await, Some(Generation(1)));
        assert_eq!(connection.take(Generation(0)).await, None);
        let first = connection.append(at(10), &row(1, 20, 7), none).await;
        assert_eq!(first, Ok(Ok(())));
        let next = row(1, 40, 8);
        for (place, row, tail) in [
            (at(10), row(1, 20, 7), none),
            (at(10), next.clone(), tail(1, 20, 7)),
            (at(20), next.clone(), tail(1, 20, 6)),
            (at(20), next.clone(), tail(1, 19, 7)),
            (at(20), next.clone(), tail(0, 20, 7)),
            (at(20), row(2, 40, 8), tail(1, 20, 7)),
        ] {
            let refused = connection.append(place, &row, tail).await;
            assert_eq!(refused, Ok(Err(Refused)), "{place} {row:?} {tail:?}");
        }
        let second = connection.append(at(20), &next, tail(1, 20, 7)).await;
        assert_eq!(second, Ok(Ok(())));
        assert_eq!(
            connection.trim(Generation(2), SegmentNo(1)).await,
            Err(Refused)
        );
        assert_eq!(connection.trim(Generation(1), SegmentNo(1)).await, Ok(()));
        let left = connection.rows(None).await;
        assert_eq!(left, [(at(20), next)], "the tail is never trimmed");
    }
}
