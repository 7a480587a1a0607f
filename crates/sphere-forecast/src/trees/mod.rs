//! What does a sum of many small decision trees make of these features?
//!
//! Gradient boosting (Friedman, *Greedy function approximation: a gradient boosting machine*, Annals of Statistics 29,
//! 2001; with row sampling: *Stochastic gradient boosting*, 2002) of regression trees grown on histograms
//! (`grow.rs` has the sources). Squared error or pinball loss; shrinkage; row and feature sampling from a seed; L1
//! and L2 penalties on leaf values. An [`Ensemble`] can grow on ([`Ensemble::extend`]) and its leaves can be estimated
//! anew on newer rows ([`Ensemble::refresh`]), so that it is retrained in steps.
//!
//! ```
//! use sphere_forecast::trees::{Ensemble, Table, TreeParams};
//!
//! let rows: Vec<f32> = (0..200).map(|i| i as f32).collect();
//! let targets: Vec<f32> = rows.iter().map(|x| if *x < 100.0 { 1.0 } else { 5.0 }).collect();
//! let ensemble = Ensemble::train(&Table::new(&rows, 1, 64), &targets, &TreeParams::default());
//! assert!((ensemble.predict(&[20.0]) - 1.0).abs() < 0.05);
//! assert!((ensemble.predict(&[180.0]) - 5.0).abs() < 0.05);
//! ```
//!
//! **Why own code.** Of the crates, those that build on the stable toolchain either lack the pinball loss or are
//! release candidates, and bindings to the C++ libraries bring 17 MB and a C++ build. None trains in exact
//! integers, so none promises the same trees on every machine, which a replayed decision needs.
//!
//! | input | answer |
//! |---|---|
//! | NaN as a feature | missing: a bin of its own in training, left at every node in prediction |
//! | infinite features | as the largest finite numbers |
//! | a NaN or infinite target | the row is left out |
//! | no rows at all | an ensemble that predicts 0 |
//! | rows beyond 2²⁴ − 1 | left out |

mod bins;
mod ensemble;
mod global;
mod grow;

pub use bins::Table;
pub use ensemble::Ensemble;
pub use global::{GlobalConfig, GlobalTrees};
pub(crate) use global::{Rows, forecast};

use serde::{Deserialize, Serialize};

/// What trees are fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Half the squared error: predicts the mean.
    Squared,
    /// Pinball loss at this level, between 0 and 1: predicts that quantile (Koenker & Bassett 1978). Trees are grown
    /// on its gradient, leaf values are the quantiles of their rows' residuals, as LightGBM does.
    Pinball(f32),
}

/// Settings of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeParams {
    /// What is minimised.
    pub loss: Loss,
    /// Trees of one training.
    pub trees: usize,
    /// Share of each tree's answer that is added (shrinkage).
    pub learning_rate: f32,
    /// Longest path from the root.
    pub max_depth: usize,
    /// Most leaves of a tree, at most 2¹⁵.
    pub max_leaves: usize,
    /// Fewest rows of a leaf: the minimum child weight, as every row weighs 1.
    pub min_child_rows: usize,
    /// Gain below which a node stays a leaf (γ).
    pub min_gain: f32,
    /// L1 penalty on leaf values (α), in units of the target.
    pub l1: f32,
    /// L2 penalty on leaf values (λ), in rows.
    pub l2: f32,
    /// Share of rows each tree sees.
    pub row_share: f32,
    /// Share of features each tree may split by.
    pub feature_share: f32,
    /// Seed of both samples.
    pub seed: u64,
}

impl Default for TreeParams {
    /// 100 trees of depth 6, rate 0.1, squared error, everything seen by every tree.
    fn default() -> Self {
        Self {
            loss: Loss::Squared,
            trees: 100,
            learning_rate: 0.1,
            max_depth: 6,
            max_leaves: 64,
            min_child_rows: 1,
            min_gain: 0.0,
            l1: 0.0,
            l2: 1.0,
            row_share: 1.0,
            feature_share: 1.0,
            seed: 0,
        }
    }
}

/// A split or a leaf, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// [`Node::LEAF`] for a leaf.
    feature: u16,
    /// Index of the left child; the right one follows it.
    left: u16,
    /// Threshold of a split, value of a leaf.
    value: f32,
}

impl Node {
    const LEAF: u16 = u16::MAX;

    fn leaf(value: f32) -> Self {
        Self { feature: Self::LEAF, left: 0, value }
    }

    fn split(feature: usize, threshold: f32, left: usize) -> Self {
        Self { feature: feature as u16, left: left as u16, value: threshold }
    }

    fn is_leaf(&self) -> bool {
        self.feature == Self::LEAF
    }
}
