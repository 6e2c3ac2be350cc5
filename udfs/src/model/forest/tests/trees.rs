//! Single trees: the mean of their scores against an exact expectation, also after many insertions and deletions.

use crate::model::forest::Scoring;
use crate::model::forest::tree::Tree;
use crate::model::forest::walk::{self, Points, Tables};
use crate::model::random::Random;

const TREES: u64 = 2500;

/// The mean score of `query` over all random cut trees of one-column points, without the factor log2(number of points).
///
/// `values` are distinct and rising, each with its number; `depth` is the depth of the node that holds them.
fn expected(values: &[(f64, usize)], query: f64, depth: usize) -> f64 {
    let (first, last) = (values[0], values[values.len() - 1]);
    if values.len() == 1 {
        return match (first.0 == query, depth) {
            (true, 0) => 1.0 / (1 + first.1) as f64,
            (true, _) => 1.0 / (depth as f64 + (first.1 as f64).log2()),
            (false, _) => 1.0 / (depth + 1) as f64,
        };
    }
    let side = last.0 - first.0;
    let growth = (first.0 - query).max(query - last.0).max(0.0);
    let p = growth / (side + growth);
    let mut inside = 0.0;
    for cut in 1..values.len() {
        let (low, high) = (values[cut - 1].0, values[cut].0);
        let left = ((high - query) / (high - low)).clamp(0.0, 1.0);
        let mut mean = 0.0;
        if left > 0.0 {
            mean += left * expected(&values[..cut], query, depth + 1);
        }
        if left < 1.0 {
            mean += (1.0 - left) * expected(&values[cut..], query, depth + 1);
        }
        inside += (high - low) / side * mean;
    }
    p / (depth + 1) as f64 + (1.0 - p) * inside
}

fn counted(values: &[f64]) -> Vec<(f64, usize)> {
    let mut counted: Vec<(f64, usize)> = Vec::new();
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    for value in values {
        match counted.last_mut() {
            Some(last) if last.0 == value => last.1 += 1,
            _ => counted.push((value, 1)),
        }
    }
    counted
}

fn padded(point: &[f32], tree: &Tree) -> Vec<f32> {
    let mut point = point.to_vec();
    point.resize(tree.stride, 0.0);
    point
}

fn insert(tree: &mut Tree, point: &[f32], random: &mut Random) -> u16 {
    tree.insert(&padded(point, tree), random)
}

fn score(tree: &Tree, tables: &Tables, query: &[f32]) -> f64 {
    let (query, mut score) = (padded(query, tree), f64::NAN);
    walk::descend(tree, Points { values: &query, step: query.len() }, 0..1, |_, leaf, depth| {
        score = walk::score(tree, tables, &query, leaf, depth, |_, _, _, _| {}).0;
    });
    score
}

/// A tree of `points`, through a life of insertions and deletions of others if `churned`.
fn grow(points: &[Vec<f32>], churned: bool, random: &mut Random) -> Tree {
    let mut tree = Tree::new(points[0].len(), points.len() + 1);
    if !churned {
        points.iter().for_each(|point| {
            insert(&mut tree, point, random);
        });
        return tree;
    }
    // Each place holds a stranger, then its point, then a stranger … and its point at last.
    let mut places: Vec<Option<u16>> = vec![None; points.len()];
    let rounds = 4 * points.len();
    for round in 0..rounds {
        let last = round >= rounds - points.len();
        let place = if last { round % points.len() } else { (random.uniform() * points.len() as f64) as usize };
        if let Some(leaf) = places[place].take() {
            tree.delete(leaf);
        }
        let stranger = !last && random.uniform() < 0.6;
        let other = &points[(random.uniform() * points.len() as f64) as usize];
        let point: Vec<f32> = if stranger {
            // On, within and outside the final points.
            let scale = (3.0 * random.uniform()).floor() as f32;
            other.iter().map(|x| x * scale + (random.uniform() * 4.0).floor() as f32).collect()
        } else {
            points[place].clone()
        };
        places[place] = Some(insert(&mut tree, &point, random));
    }
    tree
}

/// Mean of the score and the square of its standard error.
fn mean(points: &[Vec<f32>], queries: &[Vec<f32>], churned: bool, seed: u64) -> Vec<(f64, f64)> {
    let tables = Tables::new(points.len() + 1, Scoring::Service);
    let mut sums = vec![(0.0, 0.0); queries.len()];
    for lane in 0..TREES {
        let mut random = Random::seeded(seed, lane);
        let tree = grow(points, churned, &mut random);
        if lane % 100 == 0 {
            assert_eq!(tree.check(), points.len());
        }
        for (query, (sum, squares)) in queries.iter().zip(&mut sums) {
            let score = score(&tree, &tables, query);
            *sum += score;
            *squares += score * score;
        }
    }
    let trees = TREES as f64;
    sums.into_iter().map(|(sum, squares)| (sum / trees, (squares / trees - (sum / trees).powi(2)).max(0.0) / trees)).collect()
}

fn columns(values: &[f64]) -> Vec<Vec<f32>> {
    values.iter().map(|value| vec![*value as f32]).collect()
}

#[test]
fn one_column_has_its_exact_expectation() {
    let sixteen: Vec<f64> = (0..16).map(f64::from).collect();
    for (values, queries) in [
        (&[0.0, 1.0, 3.0, 7.0][..], &[(2.0, 0.633333333), (3.0, 0.888888889), (10.0, 1.237566138)][..]),
        (&[1.0, 1.0, 2.0, 5.0], &[(1.0, 0.75), (3.0, 0.833333333)]),
        (&[4.0; 8], &[(4.0, 1.0 / 3.0), (5.0, 3.0)]),
        (&sixteen, &[(7.5, 0.708394501), (40.0, 3.195439967)]),
    ] {
        let factor = (values.len() as f64).log2();
        let points: Vec<Vec<f32>> = columns(&queries.iter().map(|(query, _)| *query).collect::<Vec<_>>());
        for (churned, seed) in [(false, 1), (true, 2)] {
            let means = mean(&columns(values), &points, churned, seed);
            for ((query, published), (mean, variance)) in queries.iter().zip(means) {
                let exact = expected(&counted(values), *query, 0) * factor;
                assert!((exact - published).abs() < 1e-9, "{values:?} {query}: {exact}");
                let error = (mean * factor - published).abs();
                assert!(error <= 4.0 * variance.sqrt() * factor + 1e-6, "{values:?} {query} {churned}: {mean}");
            }
        }
    }
}

#[test]
fn random_columns_have_their_exact_expectation_after_churn() {
    let mut random = Random::seeded(77, 0);
    for round in 0..3 {
        let values: Vec<f64> = (0..12).map(|_| (random.uniform() * 10.0).floor() * (random.uniform() * 4.0).floor()).collect();
        let queries = [values[0], values[5], 4.3, -8.0, 60.0];
        let means = mean(&columns(&values), &columns(&queries), true, 100 + round);
        for (query, (mean, variance)) in queries.iter().zip(means) {
            let exact = expected(&counted(&values), *query, 0);
            assert!((mean - exact).abs() <= 4.0 * variance.sqrt() + 1e-6, "{values:?} {query}: {mean} {exact}");
        }
    }
}

#[test]
fn trees_of_many_columns_are_as_if_built_afresh() {
    for dimensions in [3, 9] {
        let mut random = Random::seeded(78, dimensions as u64);
        let mut point = |scale: f64| -> Vec<f32> {
            (0..dimensions).map(|_| (random.uniform() * scale).round() as f32 - (scale / 2.0) as f32).collect()
        };
        let points: Vec<Vec<f32>> = (0..15).map(|_| point(6.0)).collect();
        let queries: Vec<Vec<f32>> = (0..4).map(|_| point(12.0)).chain([points[0].clone()]).collect();
        let (fresh, churned) = (mean(&points, &queries, false, 5), mean(&points, &queries, true, 6));
        for (fresh, churned) in fresh.into_iter().zip(churned) {
            let tolerance = 4.0 * (fresh.1 + churned.1).sqrt();
            assert!((fresh.0 - churned.0).abs() <= tolerance, "{dimensions}: {fresh:?} {churned:?}");
        }
    }
}
