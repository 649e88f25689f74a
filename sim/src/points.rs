//! The points seam over a seed: which unlikely turns the product takes on one host.
//!
//! A point that is not set never fires and draws nothing. Each draws from a stream of its own, so that
//! setting one leaves the draws of the others alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasebridge::env::{Point, Points, UnknownPoint};

use crate::seed::{Draws, Seed};

/// See the module.
#[derive(Debug)]
pub struct SimPoints {
    seed: Seed,
    set: Mutex<BTreeMap<Point, Chance>>,
}

/// How often a point fires.
#[derive(Debug)]
struct Chance {
    /// Once in so many passes on average; `None` for not at all.
    one_in: Option<u32>,
    draws: Draws,
    fired: u64,
}

impl SimPoints {
    /// No point fires until one is set.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            set: Mutex::default(),
        }
    }

    /// From now on the point called `name` fires once in `one_in` passes on average, at each if that is 1.
    ///
    /// # Errors
    /// [`UnknownPoint`] when the product has none of that name.
    pub fn set(&self, name: &str, one_in: u32) -> Result<(), UnknownPoint> {
        let point: Point = name.parse()?;
        let mut set = self.lock();
        let chance = set.entry(point).or_insert_with(|| Chance {
            one_in: None,
            draws: self.seed.draws(&format!("point {}", point.name())),
            fired: 0,
        });
        chance.one_in = Some(one_in);
        Ok(())
    }

    /// From now on that point never fires; its stream goes on where it was if it is set again.
    ///
    /// # Errors
    /// [`UnknownPoint`] when the product has none of that name.
    pub fn clear(&self, name: &str) -> Result<(), UnknownPoint> {
        let point: Point = name.parse()?;
        if let Some(chance) = self.lock().get_mut(&point) {
            chance.one_in = None;
        }
        Ok(())
    }

    /// From now on none fires.
    pub fn clear_all(&self) {
        self.lock()
            .values_mut()
            .for_each(|chance| chance.one_in = None);
    }

    /// How often a point has fired.
    pub fn fired(&self, point: Point) -> u64 {
        self.lock().get(&point).map_or(0, |chance| chance.fired)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Point, Chance>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Points for SimPoints {
    fn fires(&self, point: Point) -> bool {
        let mut set = self.lock();
        let Some(chance) = set.get_mut(&point) else {
            return false;
        };
        let fires = chance
            .one_in
            .is_some_and(|one_in| chance.draws.one_in(one_in));
        chance.fired += u64::from(fires);
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fires_only_while_it_is_set_and_is_counted() {
        let points = SimPoints::new(Seed(1));
        assert!(!points.fires(Point::BatchOfOne));
        points.set("batch_of_one", 1).expect("it exists");
        assert!(points.fires(Point::BatchOfOne));
        assert!(!points.fires(Point::LatePromise));
        points.clear("batch_of_one").expect("it exists");
        assert!(!points.fires(Point::BatchOfOne));
        assert_eq!(points.fired(Point::BatchOfOne), 1);
        assert!(points.set("batch_of_two", 1).is_err());
    }

    #[test]
    fn one_point_leaves_the_draws_of_another_alone() {
        let pattern = |also_late: bool| {
            let points = SimPoints::new(Seed(1));
            points.set("batch_of_one", 3).expect("it exists");
            if also_late {
                points.set("late_promise", 2).expect("it exists");
            }
            let draw = |_| {
                points.fires(Point::LatePromise);
                points.fires(Point::BatchOfOne)
            };
            (0..64).map(draw).collect::<Vec<bool>>()
        };
        assert_eq!(pattern(false), pattern(true));
        assert!(pattern(false).contains(&true));
        assert!(pattern(false).contains(&false));
    }
}
