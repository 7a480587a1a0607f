//! What does the forecast say of each step ahead, learnt or not?
//!
//! Experts are asked anew for every step, so a pattern of the hour is served step by step; weights are those of the nearest
//! learnt step, the regressions and the doubt lie linearly in between. While steps are missing, weights and
//! doubt are those of the lead from the last value on.

use super::fast::dot;
use super::head::{FLAT, Head};
use super::profiles::Usual;
use super::target::Target;
use super::{AutoForecaster, BASE, LEVELS};
use sphere_core::Distribution;

/// The heads of single steps, nearest first.
struct Steps<'a>(Vec<&'a Head>);

impl Steps<'_> {
    /// The heads around `h`, and the share of the way from the first to the second.
    fn around(&self, h: u32) -> Option<(&Head, &Head, f64)> {
        let above = self.0.partition_point(|head| head.target.to < h);
        let at = |i: usize| self.0.get(i).copied();
        let a = at(above)
            .filter(|head| head.target.to == h || above == 0)
            .or_else(|| at(above.wrapping_sub(1)))?;
        let b = at(above).or_else(|| at(above.wrapping_sub(1)))?;
        let (from, to) = (a.target.to, b.target.to);
        let share = if to > from { f64::from(h - from) / f64::from(to - from) } else { 0.0 };
        Some((a, b, share))
    }

    /// What the regression says of step `h`, without the hourly pattern.
    fn ridge(&self, h: u32, (a, b, share): (&Head, &Head, f64)) -> f64 {
        if h > b.target.to
            && let [.., before, _] = self.0[..]
        {
            // Half the last slope, for as far as a sixth of the horizon.
            let width = f64::from(b.target.to - before.target.to);
            let further = f64::from(h - b.target.to).min(width / 3.0);
            return b.ridge + 0.5 * (b.ridge - before.ridge) * further / width;
        }
        a.ridge + share * (b.ridge - a.ridge)
    }
}

impl AutoForecaster {
    /// Expected demand `h` steps ahead.
    fn point_at(&self, steps: &Steps, h: u32, flat: &[f64; FLAT], now: &Usual) -> (f64, f64) {
        let base = self.levels.raw[BASE];
        let Some((a, b, share)) = steps.around(h + self.missed) else { return (base, base) };
        let head = if share < 0.5 { a } else { b };
        let direct = a.direct + share * (b.direct - a.direct);
        let ridge = steps.around(h).map_or(base, |around| steps.ridge(h, around));
        let opinions = self.opinions(flat, Target::step(h), &self.profiles.usual(h), now, ridge, direct);
        let point = dot(head.mix.weights(), &opinions) + head.mix.shift();
        (self.bounded(point), self.bounded(dot(head.mix.mean_weights(), &opinions)))
    }

    /// Deviations from the point at all levels, `h` steps ahead.
    fn deviations_at(&self, h: u32, known: &[(u32, [f64; LEVELS])]) -> [f64; LEVELS] {
        let i = known.partition_point(|(to, _)| *to < h);
        match (i, known.get(i)) {
            (0, Some((_, only))) => *only,
            (_, Some((to, b))) => {
                let (from, a) = &known[i - 1];
                let share = f64::from(h - from) / f64::from(to - from);
                std::array::from_fn(|k| a[k] + share * (b[k] - a[k]))
            }
            (0, None) => [0.0; LEVELS],
            (_, None) => {
                let (to, last) = &known[i - 1];
                let growth = (f64::from(h) / f64::from(*to)).sqrt();
                last.map(|v| v * growth)
            }
        }
    }

    /// `None` only if the point is not finite, which [`Self::bounded`] rules out.
    pub(super) fn distribution(
        &self,
        (point, center): (f64, f64),
        deviations: &[f64; LEVELS],
    ) -> Option<Distribution> {
        let floor = self.config.nonnegative.then_some(0.0);
        let quantiles = deviations.map(|d| {
            let q = center + d;
            if q.is_finite() { q } else { center }
        });
        Distribution::rearranged(point, quantiles, floor).ok()
    }

    /// Appends the distributions of steps 1 to `horizon`.
    pub(super) fn serve(&self, horizon: usize, out: &mut Vec<Distribution>) {
        let steps = Steps(self.heads.iter().filter(|head| head.target.is_step()).collect());
        let known: Vec<(u32, [f64; LEVELS])> = steps
            .0
            .iter()
            .map(|head| (head.target.to, head.doubt.deviations(&head.scales, head.shift())))
            .collect();
        let flat = self.flat();
        let now = self.profiles.usual(0);
        out.reserve(horizon);
        for h in 1..=u32::try_from(horizon).unwrap_or(u32::MAX) {
            let deviations = self.deviations_at(h.saturating_add(self.missed), &known);
            out.extend(self.distribution(self.point_at(&steps, h, &flat, &now), &deviations));
        }
    }
}
