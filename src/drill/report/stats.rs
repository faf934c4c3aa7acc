//! Minimum, median and maximum of a few measurements. Pure.

use serde::{Deserialize, Serialize};

/// The distribution of repeated measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The number of measurements.
    pub n: usize,
    /// The minimum.
    pub min: f64,
    /// The median; for an even number, the mean of the two middle values.
    pub median: f64,
    /// The 95th percentile (nearest rank); for fewer than 20 values, the maximum.
    pub p95: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// The distribution of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let rank = (n * 95).div_ceil(100).max(1) - 1;
        Some(Spread {
            n,
            min: *values.first()?,
            median: (values.get((n - 1) / 2)? + values.get(n / 2)?) / 2.0,
            p95: *values.get(rank)?,
            max: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_none_one_and_many() {
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([7.0]).unwrap();
        assert_eq!(
            (one.n, one.min, one.median, one.p95, one.max),
            (1, 7.0, 7.0, 7.0, 7.0)
        );
        let many = Spread::of((1..=20).rev().map(f64::from)).unwrap();
        assert_eq!(
            (many.min, many.median, many.p95, many.max),
            (1.0, 10.5, 19.0, 20.0)
        );
    }
}
