//! Which of the experts deserves how much weight?
//!
//! Three rules that look at recent losses, and a fourth that looks at which rule did better: exponential weights of the
//! mean loss relative to the best (Cesa-Bianchi & Lugosi, *Prediction, Learning, and Games*, 2006), which settles on few;
//! ML-Poly with the gradient trick (Gaillard, Stoltz & van Erven, *A second-order bound with excess losses*,
//! COLT 2014), which blends; and the median of the predictive distribution, which lies below every mean where demand is
//! skewed. Losses are absolute errors, cut at 6 units. The unit is nearly that of hours, not the local spread: a forecast
//! is judged by what its errors cost, and errors in quiet minutes cost nothing, however many local spreads they are
//! (measured in local spreads, a series that jumps between quiet levels never learns whom to follow when it jumps).
//!
//! The quantiles are centred on another mix, by squared errors in local spreads: on skewed demand it is
//! steadier, and the upper quantiles are sharper for it (pinball loss at 0.95, 15 steps ahead: NASA −0.7 %, Alibaba −1.6 %).
//! After a level shift the change-point level takes over for a while, on a ramp the quick trend. The first shift is believed; how far later
//! ones are depends on how well the change-point level did after those before.

use super::changepoint::Shift;
use super::fast::{dot, exp, least, sum};
use serde::{Deserialize, Serialize};

/// Number of experts.
pub(super) const EXPERTS: usize = 17;
/// Index of the change-point level.
pub(super) const JUMP: usize = 7;
/// Index of the quick trend.
pub(super) const TREND: usize = 16;
/// Forecasts of the experts.
pub(super) type Opinions = [f64; EXPERTS];

const CLIP: f64 = 6.0;
const MEMORY: f32 = 0.995;
const REGRET_MEMORY: f32 = 0.999;
const SQUARE_MEMORY: f32 = 0.998;
const SHARPNESS: f32 = 30.0;
/// The rules are judged for longer than the experts: which of them suits a series changes less than which expert does.
const RULE_MEMORY: f32 = 0.998;
/// Sharpness of the choice between the rules.
const RULE_SHARPNESS: f32 = 60.0;
/// Blend, pick, and the median of the distribution.
const RULES: usize = 3;
/// Forecasts scored before the median may take part: the histograms behind it need some errors.
const MEDIAN_FROM: f32 = 80.0;
/// Largest share of the forecast the change-point level takes over.
const LARGEST_YIELD: f64 = 0.9;
/// Loss the plain mix is born with where a shift is fresh: the first shift of a series is believed, later ones are judged.
const PLAIN_PRIOR: f32 = 0.1;

/// What the mix said at an origin, needed to learn from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub(super) blend: f64,
    pub(super) pick: f64,
    /// Median of the distribution.
    pub(super) median: f64,
    /// Before the change-point level had its say.
    pub(super) plain: f64,
    pub(super) point: f64,
    /// The same by squared errors.
    pub(super) center: f64,
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mix {
    #[serde(with = "super::packed::array")]
    loss: [f32; EXPERTS],
    count: f32,
    #[serde(with = "super::packed::array")]
    regret: [f32; EXPERTS],
    #[serde(with = "super::packed::array")]
    square: [f32; EXPERTS],
    rule_loss: [f32; RULES],
    plain_loss: f32,
    jump_loss: f32,
    #[serde(with = "super::packed::array")]
    weights: [f32; EXPERTS],
    #[serde(with = "super::packed::array")]
    square_loss: [f32; EXPERTS],
    square_count: f32,
    #[serde(with = "super::packed::array")]
    mean_weights: [f32; EXPERTS],
    /// What the median adds to the weighted opinions.
    shift: f32,
}

fn softmin(losses: &[f32; EXPERTS], sharpness: f32) -> [f32; EXPERTS] {
    let least = least(losses);
    let slope = -sharpness / (least + 1e-6);
    normalised(losses.map(|l| exp(slope * (l - least))))
}

fn normalised(mut weights: [f32; EXPERTS]) -> [f32; EXPERTS] {
    let scale = 1.0 / sum(&weights);
    weights.iter_mut().for_each(|w| *w *= scale);
    weights
}

/// Who takes over after `shift`: the change-point level, or on a ramp the quick trend.
fn successor(shift: Shift) -> usize {
    if shift.ramp { TREND } else { JUMP }
}

impl Mix {
    pub(super) fn new() -> Self {
        Self {
            loss: [0.0; EXPERTS],
            count: 0.0,
            regret: [0.0; EXPERTS],
            square: [0.0; EXPERTS],
            rule_loss: [0.0; RULES],
            plain_loss: PLAIN_PRIOR,
            jump_loss: 0.0,
            weights: [1.0 / EXPERTS as f32; EXPERTS],
            square_loss: [0.0; EXPERTS],
            square_count: 0.0,
            mean_weights: [1.0 / EXPERTS as f32; EXPERTS],
            shift: 0.0,
        }
    }

    /// Weights of the experts for the forecast last made.
    pub(super) fn weights(&self) -> &[f32; EXPERTS] {
        &self.weights
    }

    /// The same for the centre of the quantiles.
    pub(super) fn mean_weights(&self) -> &[f32; EXPERTS] {
        &self.mean_weights
    }

    /// What is to be added to the weighted opinions for the forecast last made.
    pub(super) fn shift(&self) -> f64 {
        f64::from(self.shift)
    }

    /// Learns what came, `actual`, after these `opinions`; `spread` and `shift` are those of the origin, `usual` is the
    /// usual spread of hours.
    pub(super) fn learn(
        &mut self,
        opinions: &Opinions,
        said: &Said,
        actual: f64,
        spread: f64,
        usual: f64,
        shift: Shift,
    ) {
        let local = 1.0 / spread;
        // usual^(7/8) spread^(1/8)
        let unit = 1.0 / (usual * (spread / usual).sqrt().sqrt().sqrt());
        let cut = |f: f64| ((f - actual).abs() * unit).min(CLIP) as f32;
        self.square_count = SQUARE_MEMORY * self.square_count + 1.0;
        self.count = MEMORY * self.count + 1.0;
        let gradient = if said.blend > actual { -1.0f32 } else { 1.0 };
        // Opinions are finite, so no case of NaN slows these down.
        let clip = CLIP as f32;
        let least = |v: f32| if v < clip { v } else { clip };
        let off: [f32; EXPERTS] = opinions.map(|f| ((f - actual).abs() * unit) as f32);
        let local_off: [f32; EXPERTS] = opinions.map(|f| ((f - actual).abs() * local) as f32);
        let moved: [f32; EXPERTS] = opinions.map(|f| ((f - said.blend) * unit) as f32);
        for k in 0..EXPERTS {
            self.loss[k] = MEMORY * self.loss[k] + least(off[k]);
            let error = least(local_off[k]);
            self.square_loss[k] = SQUARE_MEMORY * self.square_loss[k] + error * error;
            let regret = gradient * if moved[k] > -clip { least(moved[k]) } else { -clip };
            self.regret[k] = REGRET_MEMORY * self.regret[k] + regret;
            self.square[k] = REGRET_MEMORY * self.square[k] + regret * regret;
        }
        for (loss, f) in self.rule_loss.iter_mut().zip([said.blend, said.pick, said.median]) {
            *loss = RULE_MEMORY * *loss + cut(f);
        }
        if shift.freshness > 0.05 {
            let gain = (0.01 * shift.freshness) as f32;
            self.plain_loss += gain * (cut(said.plain) - self.plain_loss);
            let jump = (1.0 - LARGEST_YIELD) * said.plain + LARGEST_YIELD * opinions[successor(shift)];
            self.jump_loss += gain * (cut(jump) - self.jump_loss);
        }
    }

    /// Weighs these opinions, and remembers the weights; `median` tells the median of the distribution around a centre.
    pub(super) fn combine(
        &mut self,
        opinions: &Opinions,
        shift: Shift,
        median: impl FnOnce(f64) -> f64,
    ) -> Said {
        let equal = [1.0 / EXPERTS as f32; EXPERTS];
        let (blend, pick, mut mean_weights) = if self.count < 3.0 {
            (equal, equal, equal)
        } else {
            let unit = 1.0 / self.count;
            let mean = self.loss.map(|l| l * unit);
            let poly: [f32; EXPERTS] =
                std::array::from_fn(|k| self.regret[k].max(0.0) / (self.square[k] + 1e-9));
            let any = sum(&poly) > 0.0;
            (if any { normalised(poly) } else { softmin(&mean, 12.0) }, softmin(&mean, SHARPNESS), {
                let unit = 1.0 / self.square_count;
                softmin(&self.square_loss.map(|l| l * unit), SHARPNESS)
            })
        };
        let to_jump = self.yield_to_jump(shift.freshness);
        let give_way = |weights: &mut [f32; EXPERTS]| {
            if to_jump > 0.0 {
                weights.iter_mut().for_each(|w| *w *= 1.0 - to_jump);
                weights[successor(shift)] += to_jump;
            }
        };
        give_way(&mut mean_weights);
        let center = dot(&mean_weights, opinions);
        let median = median(center);
        let least = self.rule_loss.iter().copied().fold(f32::INFINITY, f32::min);
        let mut rules = self.rule_loss.map(|l| exp(-RULE_SHARPNESS * (l - least) / (least + 1e-9)));
        if self.count < MEDIAN_FROM {
            // Blend and pick share by their own losses.
            let least = self.rule_loss[0].min(self.rule_loss[1]);
            rules = self.rule_loss.map(|l| exp(-RULE_SHARPNESS * (l - least) / (least + 1e-9)));
            rules[2] = 0.0;
        }
        let [a, b, c] = rules;
        let share = 1.0 / (a + b + c);
        let mut weights: [f32; EXPERTS] =
            std::array::from_fn(|k| (a * blend[k] + b * pick[k] + c * mean_weights[k]) * share);
        // The median lies beside the mix by squared errors.
        let shift = c * share * (median - center) as f32;
        let plain = dot(&weights, opinions) + f64::from(shift);
        give_way(&mut weights);
        self.shift = (1.0 - to_jump) * shift;
        self.mean_weights = mean_weights;
        self.weights = weights;
        Said {
            blend: dot(&blend, opinions),
            pick: dot(&pick, opinions),
            median,
            plain,
            point: dot(&weights, opinions) + self.shift(),
            center,
        }
    }

    /// Share of the forecast the change-point level takes over.
    fn yield_to_jump(&self, freshness: f64) -> f32 {
        let (plain, jump) = (self.plain_loss + 0.02, self.jump_loss + 0.02);
        let trust =
            if jump < plain { 1.0 - 0.5 * (jump / plain).powi(4) } else { 0.5 * (plain / jump).powi(4) };
        (LARGEST_YIELD * freshness) as f32 * trust
    }
}
