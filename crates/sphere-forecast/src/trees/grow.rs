//! Which splits of these rows explain their residuals best?
//!
//! One regression tree by histograms: per node and feature the residuals are summed per bin, and the best split is
//! read off those sums. Of two children only the smaller one is summed; the other one is the difference. Nodes are
//! split in the order of their gain (leaf-wise), which with enough leaves is the same tree as level by level.
//!
//! **Exact sums.** Residuals are rounded to integers (as fine as 39 bits for their sum allow, about single precision for
//! 10,000 rows) and packed with a count into one `i64`: one addition per row and feature, and sums that depend
//! on no order. So the difference of histograms is exact, and the same rows give the same tree on every machine.
//!
//! Gain and leaf value with penalties λ (L2) and α (L1) as in Chen & Guestrin, *XGBoost*, KDD 2016, for losses of
//! constant second derivative 1.

use super::bins::Table;
use super::{Node, TreeParams};

/// Low bits of a packed sum: the count.
const COUNT_BITS: u32 = 24;
/// Most rows a tree can be grown on: what the count holds.
pub(super) const MOST_ROWS: usize = (1 << COUNT_BITS) - 1;

fn count(packed: i64) -> i64 {
    packed & MOST_ROWS as i64
}

/// Sum of residuals (in integer units) of a packed sum.
fn total(packed: i64) -> i64 {
    packed >> COUNT_BITS
}

/// The best split of a node.
#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f32,
    feature: usize,
    /// Bins up to this one go left.
    bin: u8,
    left: i64,
}

/// A node that may still be split.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Its rows in the order of rows.
    start: usize,
    end: usize,
    depth: usize,
    packed: i64,
    /// Index of its histogram.
    slot: usize,
    /// Index in the tree.
    node: usize,
    split: Option<Split>,
}

/// A leaf of a grown tree with its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrownLeaf {
    pub node: usize,
    pub start: usize,
    pub end: usize,
    /// Sum of the residuals, and their number.
    pub residual: f64,
    pub rows: usize,
}

/// Memory for growing, reused from tree to tree.
#[derive(Debug, Default)]
pub(super) struct Grower {
    /// Rows; those of a node lie together.
    pub rows: Vec<u32>,
    pub leaves: Vec<GrownLeaf>,
    /// Split bins of the nodes, beside the thresholds: rows that were not sampled are sorted by these.
    pub bins: Vec<u8>,
    packed: Vec<i64>,
    scratch: Vec<u32>,
    narrow: Vec<[i64; 64]>,
    wide: Vec<[i64; 256]>,
    open: Vec<Open>,
}

impl Grower {
    /// Grows a tree on `self.rows`, allowed to split by `features` only, and leaves its leaves in `self.leaves`
    /// (values of the leaf nodes are 0 until they are set).
    pub fn grow(
        &mut self,
        table: &Table,
        residuals: &[f32],
        features: &[u32],
        params: &TreeParams,
    ) -> Vec<Node> {
        let unit = self.pack(residuals);
        if table.widest() <= 64 {
            let mut histograms = std::mem::take(&mut self.narrow);
            let tree = self.split_all(table, features, params, unit, &mut histograms);
            self.narrow = histograms;
            tree
        } else {
            let mut histograms = std::mem::take(&mut self.wide);
            let tree = self.split_all(table, features, params, unit, &mut histograms);
            self.wide = histograms;
            tree
        }
    }

    /// Packs the residuals of the sampled rows; the value of one integer unit.
    fn pack(&mut self, residuals: &[f32]) -> f64 {
        let largest = self.rows.iter().map(|&row| residuals[row as usize].abs()).fold(0.0, f32::max);
        // A power of two, so that residuals in another unit of demand give the same tree.
        let room = f64::from(largest) * self.rows.len().max(1) as f64;
        let exponent = ((room.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        let per_residual = 2f64.powi((37 - exponent).clamp(-300, 300));
        self.packed.clear();
        self.packed.extend(residuals.iter().map(|&residual| {
            let integer = (f64::from(residual.clamp(-largest, largest)) * per_residual).round() as i64;
            (integer << COUNT_BITS) + 1
        }));
        per_residual.recip()
    }

    fn split_all<const B: usize>(
        &mut self,
        table: &Table,
        features: &[u32],
        params: &TreeParams,
        unit: f64,
        histograms: &mut Vec<[i64; B]>,
    ) -> Vec<Node> {
        let width = table.features();
        let max_leaves = params.max_leaves.max(1);
        let mut tree = vec![Node::leaf(0.0)];
        self.leaves.clear();
        self.bins.clear();
        self.bins.push(0);
        self.open.clear();
        let packed = self.rows.iter().map(|&row| self.packed[row as usize]).sum();
        let mut root =
            Open { start: 0, end: self.rows.len(), depth: 0, packed, slot: 0, node: 0, split: None };
        let search = Search { table, features, params, unit };
        if max_leaves > 1 && search.may_split(&root) {
            self.sum(table, &root, slot(histograms, 0, width));
            root.split = search.best(&root, slot(histograms, 0, width));
        }
        self.open.push(root);
        while self.open.len() < max_leaves {
            let best = self
                .open
                .iter()
                .enumerate()
                .filter_map(|(i, open)| open.split.map(|split| (i, split)))
                .reduce(|a, b| if b.1.gain > a.1.gain { b } else { a });
            let Some((index, split)) = best else { break };
            let parent = self.open[index];
            let middle = self.partition(table, &parent, &split);
            let (left_node, right_node) = (tree.len(), tree.len() + 1);
            tree[parent.node] =
                Node::split(split.feature, table.threshold(split.feature, split.bin), left_node);
            self.bins[parent.node] = split.bin;
            tree.extend([Node::leaf(0.0); 2]);
            self.bins.extend([0; 2]);
            let child = |start, end, packed, node| Open {
                start,
                end,
                depth: parent.depth + 1,
                packed,
                slot: 0,
                node,
                split: None,
            };
            let mut left = child(parent.start, middle, split.left, left_node);
            let mut right = child(middle, parent.end, parent.packed - split.left, right_node);
            let last = self.open.len() + 1 >= max_leaves;
            if !last && (search.may_split(&left) || search.may_split(&right)) {
                // The larger child takes over the parent's histogram.
                let fresh = self.open.len();
                let (small, large) = if middle - parent.start <= parent.end - middle {
                    (&mut left, &mut right)
                } else {
                    (&mut right, &mut left)
                };
                (small.slot, large.slot) = (fresh, parent.slot);
                self.sum(table, small, slot(histograms, fresh, width));
                subtract(histograms, parent.slot, fresh, width);
                for child in [small, large] {
                    if search.may_split(child) {
                        child.split = search.best(child, slot(histograms, child.slot, width));
                    }
                }
            }
            self.open[index] = left;
            self.open.push(right);
        }
        self.leaves.extend(self.open.iter().map(|open| GrownLeaf {
            node: open.node,
            start: open.start,
            end: open.end,
            residual: total(open.packed) as f64 * unit,
            rows: open.end - open.start,
        }));
        tree
    }

    fn sum<const B: usize>(&self, table: &Table, node: &Open, histogram: &mut [[i64; B]]) {
        histogram.iter_mut().for_each(|bins| bins.fill(0));
        for &row in &self.rows[node.start..node.end] {
            let packed = self.packed[row as usize];
            for (bins, &bin) in histogram.iter_mut().zip(table.row(row)) {
                // No bin is that large; the mask spares the check.
                bins[usize::from(bin) & (B - 1)] += packed;
            }
        }
    }

    /// Brings the rows of the left child to the front, both sides in order; the first of the right.
    fn partition(&mut self, table: &Table, node: &Open, split: &Split) -> usize {
        self.scratch.clear();
        let mut left = node.start;
        for i in node.start..node.end {
            let row = self.rows[i];
            if table.bin(row, split.feature) <= split.bin {
                self.rows[left] = row;
                left += 1;
            } else {
                self.scratch.push(row);
            }
        }
        self.rows[left..node.end].copy_from_slice(&self.scratch);
        left
    }
}

fn slot<const B: usize>(histograms: &mut Vec<[i64; B]>, slot: usize, width: usize) -> &mut [[i64; B]] {
    let end = (slot + 1) * width;
    if histograms.len() < end {
        histograms.resize(end, [0; B]);
    }
    &mut histograms[slot * width..end]
}

/// `histograms[from] -= histograms[what]`, slots of `width` features.
fn subtract<const B: usize>(histograms: &mut [[i64; B]], from: usize, what: usize, width: usize) {
    // `what` is the newest slot, so it lies behind.
    let (before, behind) = histograms.split_at_mut(what * width);
    for (a, b) in before[from * width..(from + 1) * width].iter_mut().zip(&behind[..width]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a -= b;
        }
    }
}

struct Search<'a> {
    table: &'a Table,
    features: &'a [u32],
    params: &'a TreeParams,
    unit: f64,
}

impl Search<'_> {
    fn may_split(&self, node: &Open) -> bool {
        node.depth < self.params.max_depth && node.end - node.start >= 2 * self.params.min_child_rows.max(1)
    }

    /// The split of largest gain, if one gains more than `min_gain`. Of equal gains the first feature's lowest bin.
    fn best<const B: usize>(&self, node: &Open, histogram: &[[i64; B]]) -> Option<Split> {
        let unit = self.unit as f32;
        let (l1, l2) = (self.params.l1, self.params.l2);
        let least = self.params.min_child_rows.max(1) as f32;
        let shrunk = |sum: f32| (sum.abs() - l1).max(0.0);
        let score = |sum: f32, rows: f32| shrunk(sum) * shrunk(sum) / (rows + l2);
        let own = score(total(node.packed) as f32 * unit, count(node.packed) as f32);
        let mut best: Option<Split> = None;
        // Gains below the rounding of what they are differences of are none.
        let mut best_gain = self.params.min_gain.max(1e-6 * own).max(0.0);
        let (mut left_sums, mut left_rows) = ([0f32; B], [0f32; B]);
        let (mut right_sums, mut gains) = ([0f32; B], [0f32; B]);
        let rows = count(node.packed) as f32;
        for &feature in self.features {
            let bins = &histogram[feature as usize];
            // The last bin has nothing on its right.
            let splits = self.table.width(feature as usize) - 1;
            let mut left = 0i64;
            for i in 0..splits {
                left += bins[i & (B - 1)];
                left_sums[i & (B - 1)] = total(left) as f32;
                right_sums[i & (B - 1)] = total(node.packed - left) as f32;
                left_rows[i & (B - 1)] = count(left) as f32;
            }
            let sides = left_sums[..splits].iter().zip(&right_sums[..splits]).zip(&left_rows[..splits]);
            for (gain, ((&l, &r), &n)) in gains[..splits].iter_mut().zip(sides) {
                let (l, r) = (shrunk(l * unit), shrunk(r * unit));
                let (nl, nr) = (n + l2, rows - n + l2);
                // One division for both sides.
                let both = (l * l * nr + r * r * nl) / (nl * nr);
                let enough = n >= least && rows - n >= least;
                *gain = if enough { both - own } else { -1.0 };
            }
            for (i, &gain) in gains[..splits].iter().enumerate() {
                if gain > best_gain {
                    best_gain = gain;
                    best = Some(Split { gain, feature: feature as usize, bin: i as u8, left: 0 });
                }
            }
        }
        if let Some(split) = &mut best {
            split.left = histogram[split.feature][..=usize::from(split.bin)].iter().sum();
        }
        best
    }
}
