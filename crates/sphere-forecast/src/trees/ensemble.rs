//! How do trees add up to a prediction, and how are more of them trained?

use super::grow::{Grower, MOST_ROWS};
use super::{Loss, Node, Table, TreeParams};
use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// One tree; the values of its leaves are shrunk already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Node>);

impl Tree {
    fn leaf_of(&self, row: &[f32]) -> usize {
        let mut at = 0;
        loop {
            let node = &self.0[at];
            if node.is_leaf() {
                return at;
            }
            // A feature the row does not have is missing. `!(a > b)` sends missing ones left.
            let right = row.get(usize::from(node.feature)).is_some_and(|value| *value > node.value);
            at = usize::from(node.left) + usize::from(right);
        }
    }

    /// Do all children lie behind their parent and within the tree? Then every walk ends.
    fn sound(&self) -> bool {
        let len = self.0.len();
        len > 0
            && self.0.iter().enumerate().all(|(i, node)| {
                node.is_leaf() || (usize::from(node.left) > i && usize::from(node.left) + 1 < len)
            })
    }
}

/// A sum of trees. Serialised, it survives the process; a form that no training makes is refused when it is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Ensemble {
    base: f32,
    features: usize,
    trees: Vec<Tree>,
}

/// [`Ensemble`] as read, not yet checked.
#[derive(Deserialize)]
struct Parts {
    base: f32,
    features: usize,
    trees: Vec<Tree>,
}

impl TryFrom<Parts> for Ensemble {
    type Error = &'static str;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        if !parts.trees.iter().all(Tree::sound) {
            return Err("a tree whose nodes do not lead to leaves");
        }
        Ok(Self { base: parts.base, features: parts.features, trees: parts.trees })
    }
}

impl Ensemble {
    /// Trains `params.trees` trees on `table`, one target per row.
    pub fn train(table: &Table, targets: &[f32], params: &TreeParams) -> Self {
        let mut known: Vec<f32> = targets.iter().copied().filter(|t| t.is_finite()).collect();
        let base = match params.loss {
            Loss::Squared if known.is_empty() => 0.0,
            Loss::Squared => (known.iter().map(|t| f64::from(*t)).sum::<f64>() / known.len() as f64) as f32,
            Loss::Pinball(level) => quantile(&mut known, level).unwrap_or(0.0),
        };
        let mut ensemble = Self { base, features: table.features(), trees: Vec::new() };
        let mut fitted = vec![base; table.rows()];
        ensemble.boost(table, targets, &mut fitted, params.trees, params);
        ensemble
    }

    /// Adds `trees` trees that correct what the ensemble makes of `rows` (row by row, as `table` was made of). Of
    /// more than `most` trees the oldest go; what they said together stays as a constant, their mean on `rows`.
    pub fn extend(
        &mut self,
        table: &Table,
        rows: &[f32],
        targets: &[f32],
        (trees, most): (usize, usize),
        params: &TreeParams,
    ) {
        if table.features() != self.features || table.rows() == 0 {
            return;
        }
        let excess = (self.trees.len() + trees).saturating_sub(most).min(self.trees.len());
        if excess > 0 {
            let gone: Vec<Tree> = self.trees.drain(..excess).collect();
            let said: f64 = rows.chunks_exact(self.features).map(|row| f64::from(sum(0.0, &gone, row))).sum();
            self.base += (said / table.rows() as f64) as f32;
        }
        let mut fitted: Vec<f32> = rows.chunks_exact(self.features).map(|row| self.predict(row)).collect();
        self.boost(table, targets, &mut fitted, trees, params);
    }

    /// Estimates all leaf values anew on `rows`, tree by tree, keeping the splits (the `refresh` updater of
    /// XGBoost). A leaf that no row reaches keeps its value.
    pub fn refresh(&mut self, rows: &[f32], targets: &[f32], params: &TreeParams) {
        if self.features == 0 {
            return;
        }
        let known: Vec<(&[f32], f32)> = rows
            .chunks_exact(self.features)
            .zip(targets.iter().copied())
            .filter(|(_, target)| target.is_finite())
            .collect();
        let mut residuals: Vec<f32> = known.iter().map(|(_, target)| target - self.base).collect();
        let mut of_leaf: Vec<Vec<f32>> = Vec::new();
        let mut leaves = Vec::with_capacity(known.len());
        for tree in &mut self.trees {
            of_leaf.iter_mut().for_each(Vec::clear);
            of_leaf.resize_with(tree.0.len().max(of_leaf.len()), Vec::new);
            leaves.clear();
            leaves.extend(known.iter().map(|(row, _)| tree.leaf_of(row)));
            for (leaf, residual) in leaves.iter().zip(&residuals) {
                of_leaf[*leaf].push(*residual);
            }
            for (node, residuals) in tree.0.iter_mut().zip(&mut of_leaf) {
                if node.is_leaf() && !residuals.is_empty() {
                    let value = match params.loss {
                        Loss::Squared => {
                            let sum = residuals.iter().map(|r| f64::from(*r)).sum();
                            leaf_value(sum, residuals.len(), params)
                        }
                        Loss::Pinball(level) => quantile(residuals, level).unwrap_or(0.0),
                    };
                    node.value = value * params.learning_rate;
                }
            }
            for (leaf, residual) in leaves.iter().zip(&mut residuals) {
                *residual -= tree.0[*leaf].value;
            }
        }
    }

    /// The prediction for one row of features; missing ones are NaN.
    pub fn predict(&self, row: &[f32]) -> f32 {
        sum(self.base, &self.trees, row)
    }

    /// Trees in it.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Does it consist of its constant only?
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// Features of a row it was trained on.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let nodes: usize = self.trees.iter().map(|tree| tree.0.capacity() * size_of::<Node>()).sum();
        self.trees.capacity() * size_of::<Tree>() + nodes
    }

    fn boost(
        &mut self,
        table: &Table,
        targets: &[f32],
        fitted: &mut [f32],
        trees: usize,
        params: &TreeParams,
    ) {
        let all: Vec<u32> = (0..table.rows().min(targets.len()).min(MOST_ROWS) as u32)
            .filter(|&row| targets[row as usize].is_finite())
            .collect();
        if all.is_empty() {
            return;
        }
        // Another stream for the trees that are added later.
        let mut rng = Rng::new(params.seed ^ (self.trees.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let share = |of: usize, share: f32| ((of as f64 * f64::from(share)).round() as usize).clamp(1, of);
        let mut features: Vec<u32> = (0..table.features() as u32).collect();
        let (mut chosen, mut residuals, mut values) = (Vec::new(), vec![0.0; table.rows()], Vec::new());
        let mut grower = Grower::default();
        for _ in 0..trees {
            for &row in &all {
                let row = row as usize;
                residuals[row] = match params.loss {
                    Loss::Squared => targets[row] - fitted[row],
                    // The negative gradient.
                    Loss::Pinball(level) => level - f32::from(u8::from(targets[row] <= fitted[row])),
                };
            }
            let keep = share(all.len(), params.row_share);
            if keep < all.len() {
                rng.choose(all.len(), keep, &mut chosen);
                grower.rows.clear();
                grower.rows.extend(chosen.iter().map(|&i| all[i as usize]));
            } else {
                grower.rows.clone_from(&all);
            }
            if table.features() > 0 {
                let keep = share(table.features(), params.feature_share);
                rng.choose(table.features(), keep, &mut features);
            }
            let mut tree = grower.grow(table, &residuals, &features, params);
            for leaf in &grower.leaves {
                let rows = &grower.rows[leaf.start..leaf.end];
                let value = match params.loss {
                    Loss::Squared => leaf_value(leaf.residual, leaf.rows, params),
                    Loss::Pinball(level) => {
                        values.clear();
                        values.extend(rows.iter().map(|&row| targets[row as usize] - fitted[row as usize]));
                        quantile(&mut values, level).unwrap_or(0.0)
                    }
                };
                let value = value * params.learning_rate;
                tree[leaf.node].value = value;
                rows.iter().for_each(|&row| fitted[row as usize] += value);
            }
            if grower.rows.len() < all.len() {
                // Those between the sampled ones, which are a subsequence of all.
                let mut sampled = chosen.iter().peekable();
                for (i, &row) in all.iter().enumerate() {
                    if sampled.next_if(|&&s| s as usize == i).is_none() {
                        fitted[row as usize] += tree[walk(&tree, &grower.bins, table, row)].value;
                    }
                }
            }
            self.trees.push(Tree(tree));
        }
    }
}

/// The leaf of a row of the table.
fn walk(tree: &[Node], bins: &[u8], table: &Table, row: u32) -> usize {
    let row = table.row(row);
    let mut at = 0;
    while !tree[at].is_leaf() {
        at = usize::from(tree[at].left) + usize::from(row[usize::from(tree[at].feature)] > bins[at]);
    }
    at
}

fn sum(base: f32, trees: &[Tree], row: &[f32]) -> f32 {
    trees.iter().fold(base, |sum, tree| sum + tree.0[tree.leaf_of(row)].value)
}

fn leaf_value(residual: f64, rows: usize, params: &TreeParams) -> f32 {
    let shrunk = (residual.abs() - f64::from(params.l1)).max(0.0).copysign(residual);
    (shrunk / (rows as f64 + f64::from(params.l2))) as f32
}

/// The quantile at `level` of `values`, linear between order statistics; `None` for none.
fn quantile(values: &mut [f32], level: f32) -> Option<f32> {
    let last = values.len().checked_sub(1)?;
    let position = f64::from(level.clamp(0.0, 1.0)) * last as f64;
    let below = (position as usize).min(last);
    let (_, low, above) = values.select_nth_unstable_by(below, f32::total_cmp);
    let low = *low;
    let high = above.iter().copied().fold(f32::INFINITY, f32::min);
    Some(if above.is_empty() { low } else { low + (position - below as f64) as f32 * (high - low) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two features of noise and one that matters, and targets with noise of their own.
    fn data(rows: usize) -> (Vec<f32>, Vec<f32>) {
        let mut rng = Rng::new(7);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let row: [f32; 3] = std::array::from_fn(|_| rng.unit());
            y.push((6.0 * row[1]).sin() + 0.1 * (rng.unit() - 0.5));
            x.extend(row);
        }
        (x, y)
    }

    fn error(ensemble: &Ensemble, x: &[f32], y: &[f32]) -> f32 {
        let rows = x.chunks_exact(3).zip(y);
        rows.map(|(row, y)| (ensemble.predict(row) - y).powi(2)).sum::<f32>() / y.len() as f32
    }

    #[test]
    fn a_smooth_function_is_learnt_down_to_the_noise() {
        let (x, y) = data(4000);
        let ensemble = Ensemble::train(&Table::new(&x[..9000], 3, 64), &y[..3000], &TreeParams::default());
        let error = error(&ensemble, &x[9000..], &y[3000..]);
        assert!(error < 2.0 * 0.1 * 0.1 / 12.0, "{error}");
    }

    #[test]
    fn the_predictions_on_rows_not_sampled_are_those_of_the_finished_tree() {
        let (x, y) = data(500);
        let params = TreeParams { row_share: 0.5, feature_share: 0.7, trees: 30, ..TreeParams::default() };
        let table = Table::new(&x, 3, 64);
        let mut ensemble = Ensemble { base: 0.0, features: 3, trees: Vec::new() };
        let mut fitted = vec![0.0; 500];
        ensemble.boost(&table, &y, &mut fitted, 30, &params);
        for (row, fitted) in x.chunks_exact(3).zip(fitted) {
            assert!((ensemble.predict(row) - fitted).abs() < 1e-5);
        }
    }

    #[test]
    fn the_pinball_loss_gives_the_quantile_asked_for() {
        let mut rng = Rng::new(3);
        let x: Vec<f32> = (0..4000).map(|_| rng.unit()).collect();
        let y: Vec<f32> = x.iter().map(|x| (1.0 + 9.0 * x) * rng.unit()).collect();
        for level in [0.1, 0.5, 0.95] {
            let params = TreeParams {
                loss: Loss::Pinball(level),
                min_child_rows: 40,
                trees: 60,
                ..TreeParams::default()
            };
            let ensemble = Ensemble::train(&Table::new(&x, 1, 64), &y, &params);
            for at in [0.2, 0.5, 0.8] {
                let wanted = level * (1.0 + 9.0 * at);
                assert!(
                    (ensemble.predict(&[at]) - wanted).abs() < 0.12 * (1.0 + 9.0 * at),
                    "{level} at {at}"
                );
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trees_and_another_seed_others() {
        let (x, y) = data(300);
        let table = Table::new(&x, 3, 64);
        let train =
            |seed| Ensemble::train(&table, &y, &TreeParams { seed, row_share: 0.5, ..TreeParams::default() });
        assert_eq!(train(1), train(1));
        assert_ne!(train(1), train(2));
    }

    #[test]
    fn more_trees_correct_what_the_first_ones_left_and_their_number_is_bounded() {
        let (x, y) = data(2000);
        let table = Table::new(&x, 3, 64);
        let params = TreeParams { trees: 10, ..TreeParams::default() };
        let mut ensemble = Ensemble::train(&table, &y, &params);
        let before = error(&ensemble, &x, &y);
        ensemble.extend(&table, &x, &y, (40, 60), &params);
        let after = error(&ensemble, &x, &y);
        assert!(after < 0.1 * before, "{before} {after}");
        for _ in 0..5 {
            ensemble.extend(&table, &x, &y, (40, 60), &params);
            assert_eq!(ensemble.len(), 60);
        }
        assert!(error(&ensemble, &x, &y) < 1.5 * after + 1e-3);
    }

    #[test]
    fn refreshed_leaves_follow_a_changed_level() {
        let (x, y) = data(1000);
        let params = TreeParams::default();
        let mut ensemble = Ensemble::train(&Table::new(&x, 3, 64), &y, &params);
        let shifted: Vec<f32> = y.iter().map(|y| 3.0 * y + 10.0).collect();
        let before = error(&ensemble, &x, &shifted);
        ensemble.refresh(&x, &shifted, &params);
        assert!(error(&ensemble, &x, &shifted) < 1e-3 * before);
    }

    #[test]
    fn bad_rows_and_targets_teach_nothing_wrong() {
        let (mut x, mut y) = data(500);
        (x[0], x[4], x[8]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        (y[7], y[8]) = (f32::NAN, f32::INFINITY);
        let ensemble = Ensemble::train(&Table::new(&x, 3, 255), &y, &TreeParams::default());
        for row in [[f32::NAN; 3], [f32::INFINITY; 3], [f32::NEG_INFINITY; 3]] {
            assert!(ensemble.predict(&row).abs() < 2.0);
        }
        let empty = Ensemble::train(&Table::new(&[], 3, 64), &[], &TreeParams::default());
        assert_eq!((empty.predict(&[1.0, 2.0, 3.0]), empty.len()), (0.0, 0));
        let none = Ensemble::train(&Table::new(&x, 3, 64), &[f32::NAN; 500], &TreeParams::default());
        assert_eq!((none.predict(&[1.0, 2.0, 3.0]), none.len()), (0.0, 0));
    }

    #[test]
    fn the_scale_of_targets_changes_nothing_but_the_scale() {
        let (x, y) = data(300);
        let table = Table::new(&x, 3, 64);
        let one = Ensemble::train(&table, &y, &TreeParams::default());
        for scale in [2f32.powi(-30), 2f32.powi(40)] {
            let scaled: Vec<f32> = y.iter().map(|y| y * scale).collect();
            let other = Ensemble::train(&table, &scaled, &TreeParams::default());
            for row in x.chunks_exact(3) {
                assert!((other.predict(row) / scale - one.predict(row)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_stored_tree_that_would_never_end_is_refused() {
        let (x, y) = data(100);
        let ensemble = Ensemble::train(&Table::new(&x, 3, 64), &y, &TreeParams::default());
        let mut stored = serde_json::to_value(&ensemble).unwrap();
        assert_eq!(serde_json::from_value::<Ensemble>(stored.clone()).unwrap(), ensemble);
        stored["trees"][0][0]["left"] = 0.into();
        let refused = serde_json::from_value::<Ensemble>(stored).unwrap_err().to_string();
        assert!(refused.contains("do not lead to leaves"), "{refused}");
    }
}
