//! The arguments of HOTSPOTS (kda-sql-reference.md §5.13).

use datafusion::common::{Result, plan_err};

/// The function's name, for errors.
pub(in crate::model) const FUNCTION: &str = "HOTSPOTS";

/// Radii whose squares are finite and not 0.
const RADIUS_MIN: f64 = 1e-150;
const RADIUS_MAX: f64 = 1e150;

/// How hotspots are found. All three arguments are required in SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct HotspotsOptions {
    /// windowSize, 100 – 1000: how many of the last rows are looked at.
    pub window_size: i64,
    /// scanRadius, more than 0: rows within this distance are neighbours.
    pub scan_radius: f64,
    /// minimumNumberOfPointsInAHotspot, 2 – windowSize: neighbours that a row of a hotspot's core has, itself included.
    pub points_min: i64,
}

impl HotspotsOptions {
    /// Fails if an option is out of its range.
    pub(in crate::model) fn check(&self) -> Result<()> {
        if !(100..=1000).contains(&self.window_size) {
            return plan_err!("windowSize of {FUNCTION} is {}, it must be 100 to 1000", self.window_size);
        }
        if !(RADIUS_MIN..=RADIUS_MAX).contains(&self.scan_radius) {
            return plan_err!(
                "scanRadius of {FUNCTION} is {:?}, it must be more than 0: {RADIUS_MIN:?} to {RADIUS_MAX:?}",
                self.scan_radius
            );
        }
        if !(2..=self.window_size).contains(&self.points_min) {
            return plan_err!(
                "minimumNumberOfPointsInAHotspot of {FUNCTION} is {}, it must be 2 to windowSize, which is {}",
                self.points_min,
                self.window_size
            );
        }
        Ok(())
    }
}
