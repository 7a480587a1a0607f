//! Which of the experts deserves how much weight?
//!
//! Two rules that look at recent losses, and a third that looks at which rule did better: exponential weights of the
//! mean loss relative to the best (Cesa-Bianchi & Lugosi, *Prediction, Learning, and Games*, 2006), which settles on few; and
//! ML-Poly with the gradient trick (Gaillard, Stoltz & van Erven, *A second-order bound with excess losses*,
//! COLT 2014), which blends. Losses are absolute errors in local spreads, cut at 6, so one burst ends no
//! career. The point forecast is theirs; the quantiles are centred on a second mix, by squared errors: on skewed demand it is
//! steadier, and the upper quantiles are sharper for it (pinball loss at 0.95, 15 steps ahead: NASA −0.7 %, Alibaba −1.6 %).
//! After a level shift the change-point level takes over for a while, as far as it has done well there before.

use serde::{Deserialize, Serialize};

/// Number of experts.
pub(super) const EXPERTS: usize = 15;
/// Index of the change-point level.
pub(super) const JUMP: usize = 7;
/// Forecasts of the experts.
pub(super) type Opinions = [f64; EXPERTS];

const CLIP: f64 = 6.0;
const MEMORY: f32 = 0.995;
const REGRET_MEMORY: f32 = 0.999;
const SQUARE_MEMORY: f32 = 0.998;
const SHARPNESS: f32 = 30.0;

/// What the mix said at an origin, needed to learn from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub(super) blend: f64,
    pub(super) pick: f64,
    /// Before the change-point level had its say.
    pub(super) plain: f64,
    pub(super) point: f64,
    /// The same by squared errors.
    pub(super) center: f64,
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mix {
    loss: [f32; EXPERTS],
    count: f32,
    regret: [f32; EXPERTS],
    square: [f32; EXPERTS],
    rule_loss: [f32; 2],
    plain_loss: f32,
    jump_loss: f32,
    weights: [f32; EXPERTS],
    square_loss: [f32; EXPERTS],
    square_count: f32,
    mean_weights: [f32; EXPERTS],
}

fn softmin(losses: &[f32; EXPERTS], sharpness: f32) -> [f32; EXPERTS] {
    let least = losses.iter().copied().fold(f32::INFINITY, f32::min);
    let slope = -sharpness / (least + 1e-6);
    normalised(losses.map(|l| (slope * (l - least)).exp()))
}

fn normalised(mut weights: [f32; EXPERTS]) -> [f32; EXPERTS] {
    let scale = 1.0 / weights.iter().sum::<f32>();
    weights.iter_mut().for_each(|w| *w *= scale);
    weights
}

fn dot(weights: &[f32; EXPERTS], opinions: &Opinions) -> f64 {
    weights.iter().zip(opinions).map(|(w, f)| f64::from(*w) * f).sum()
}

impl Mix {
    pub(super) fn new() -> Self {
        Self {
            loss: [0.0; EXPERTS],
            count: 0.0,
            regret: [0.0; EXPERTS],
            square: [0.0; EXPERTS],
            rule_loss: [0.0; 2],
            plain_loss: 0.0,
            jump_loss: 0.0,
            weights: [1.0 / EXPERTS as f32; EXPERTS],
            square_loss: [0.0; EXPERTS],
            square_count: 0.0,
            mean_weights: [1.0 / EXPERTS as f32; EXPERTS],
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

    /// Learns what came, `actual`, after these `opinions`; `spread` and `freshness` are those of the origin.
    pub(super) fn learn(
        &mut self,
        opinions: &Opinions,
        said: &Said,
        actual: f64,
        spread: f64,
        freshness: f64,
    ) {
        let unit = 1.0 / spread;
        let cut = |f: f64| ((f - actual).abs() * unit).min(CLIP);
        self.square_count = SQUARE_MEMORY * self.square_count + 1.0;
        self.count = MEMORY * self.count + 1.0;
        let gradient = if said.blend > actual { -1.0 } else { 1.0 };
        for (k, &f) in opinions.iter().enumerate() {
            let loss = cut(f) as f32;
            self.loss[k] = MEMORY * self.loss[k] + loss;
            self.square_loss[k] = SQUARE_MEMORY * self.square_loss[k] + loss * loss;
            let regret = (gradient * ((f - said.blend) * unit).clamp(-CLIP, CLIP)) as f32;
            self.regret[k] = REGRET_MEMORY * self.regret[k] + regret;
            self.square[k] = REGRET_MEMORY * self.square[k] + regret * regret;
        }
        for (loss, f) in self.rule_loss.iter_mut().zip([said.blend, said.pick]) {
            *loss = MEMORY * *loss + cut(f) as f32;
        }
        if freshness > 0.05 {
            let gain = (0.01 * freshness) as f32;
            self.plain_loss += gain * (cut(said.plain) as f32 - self.plain_loss);
            let jump = 0.2 * said.plain + 0.8 * opinions[JUMP];
            self.jump_loss += gain * (cut(jump) as f32 - self.jump_loss);
        }
    }

    /// Weighs these opinions, and remembers the weights.
    pub(super) fn combine(&mut self, opinions: &Opinions, freshness: f64) -> Said {
        let equal = [1.0 / EXPERTS as f32; EXPERTS];
        let (blend, pick) = if self.count < 3.0 {
            (equal, equal)
        } else {
            let mean = self.loss.map(|l| l / self.count);
            let poly: [f32; EXPERTS] =
                std::array::from_fn(|k| self.regret[k].max(0.0) / (self.square[k] + 1e-9));
            let any = poly.iter().sum::<f32>() > 0.0;
            (if any { normalised(poly) } else { softmin(&mean, 12.0) }, softmin(&mean, SHARPNESS))
        };
        let least = self.rule_loss[0].min(self.rule_loss[1]);
        let [a, b] = self.rule_loss.map(|l| (-SHARPNESS * (l - least) / (least + 1e-9)).exp());
        let share = a / (a + b);
        let mut weights: [f32; EXPERTS] = std::array::from_fn(|k| share * blend[k] + (1.0 - share) * pick[k]);
        let plain = dot(&weights, opinions);
        let yield_to_jump = self.yield_to_jump(freshness);
        if yield_to_jump > 0.0 {
            weights.iter_mut().for_each(|w| *w *= 1.0 - yield_to_jump);
            weights[JUMP] += yield_to_jump;
        }
        let mut mean_weights = if self.count < 3.0 {
            equal
        } else {
            softmin(&self.square_loss.map(|l| l / self.square_count), SHARPNESS)
        };
        if yield_to_jump > 0.0 {
            mean_weights.iter_mut().for_each(|w| *w *= 1.0 - yield_to_jump);
            mean_weights[JUMP] += yield_to_jump;
        }
        let center = dot(&mean_weights, opinions);
        self.mean_weights = mean_weights;
        self.weights = weights;
        Said {
            blend: dot(&blend, opinions),
            pick: dot(&pick, opinions),
            plain,
            point: dot(&weights, opinions),
            center,
        }
    }

    /// Share of the forecast the change-point level takes over.
    fn yield_to_jump(&self, freshness: f64) -> f32 {
        let (plain, jump) = (self.plain_loss + 0.02, self.jump_loss + 0.02);
        let trust =
            if jump < plain { 1.0 - 0.5 * (jump / plain).powi(4) } else { 0.5 * (plain / jump).powi(4) };
        0.8 * freshness as f32 * trust
    }
}
