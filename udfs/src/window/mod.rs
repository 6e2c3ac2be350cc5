//! Window functions: the models over tables that end.

mod model;

use std::sync::Arc;

use datafusion::logical_expr::WindowUDF;

use self::model::{ModelFunction, Models};

/// Every window function.
pub fn all() -> Vec<Arc<WindowUDF>> {
    vec![random_cut_forest(), random_cut_forest_with_explanation(), hotspots()]
}

/// `random_cut_forest(columns, numberOfTrees, subSampleSize, timeDecay, shingleSize, seed, scoring) OVER (…)`: ANOMALY_SCORE.
pub fn random_cut_forest() -> Arc<WindowUDF> {
    function(Models::Forest)
}

/// `random_cut_forest_with_explanation(columns, numberOfTrees, subSampleSize, timeDecay, shingleSize, withDirectionality, seed,
/// scoring) OVER (…)`: a struct of ANOMALY_SCORE and ANOMALY_EXPLANATION.
pub fn random_cut_forest_with_explanation() -> Arc<WindowUDF> {
    function(Models::ForestWithExplanation)
}

/// `hotspots(columns, windowSize, scanRadius, minimumNumberOfPointsInAHotspot) OVER (…)`: HOTSPOTS_RESULT.
pub fn hotspots() -> Arc<WindowUDF> {
    function(Models::Hotspots)
}

fn function(models: Models) -> Arc<WindowUDF> {
    Arc::new(WindowUDF::new_from_impl(ModelFunction::new(models)))
}
