//! Does another autoscaler have the same target?
//!
//! Two scalers on one target undo each other's work, and the HPA's own rule for two HPAs is to stop both. So where we write
//! sizes there must be no HPA; KEDA's are HPAs, too. In mode `Floor` there must be exactly one, and nobody may own it who
//! would put its minimum back (KEDA's ScaledObject does).

use sphere_core::{Mode, Reason};

/// A HorizontalPodAutoscaler on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// `namespace/name`.
    pub name: String,
    /// Who controls it, e.g. `ScaledObject/web`.
    pub owner: Option<String>,
}

/// What the HPAs of a target keep us from; `None`: nothing.
pub fn obstacle(mode: Mode, others: &[Other]) -> Option<Reason> {
    match (mode, others) {
        (Mode::Observe, _) | (Mode::ScaleOut | Mode::Full, []) => None,
        (Mode::Floor, []) => {
            let detail = "mode Floor raises the minimum of a HorizontalPodAutoscaler, and there is none on this target";
            Some(Reason::TargetUnsuitable { detail: detail.into() })
        }
        (Mode::Floor, [only]) if only.owner.is_none() => None,
        (_, some) => Some(Reason::Conflict { owner: name(some) }),
    }
}

fn name(others: &[Other]) -> String {
    let one = |other: &Other| match &other.owner {
        Some(owner) => format!("{} (of {owner})", other.name),
        None => other.name.clone(),
    };
    let names: Vec<String> = others.iter().map(one).collect();
    let kind = if names.len() == 1 { "HorizontalPodAutoscaler" } else { "HorizontalPodAutoscalers" };
    format!("{kind} {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hpa(owner: Option<&str>) -> Other {
        Other { name: "shop/web".into(), owner: owner.map(Into::into) }
    }

    #[test]
    fn where_we_write_sizes_any_hpa_is_a_conflict_and_is_named() {
        for mode in [Mode::ScaleOut, Mode::Full] {
            assert_eq!(obstacle(mode, &[]), None);
            let Some(Reason::Conflict { owner }) = obstacle(mode, &[hpa(Some("ScaledObject/web"))]) else {
                panic!("no conflict")
            };
            assert_eq!(owner, "HorizontalPodAutoscaler shop/web (of ScaledObject/web)");
        }
    }

    #[test]
    fn floor_needs_one_hpa_that_nobody_else_writes() {
        assert_eq!(obstacle(Mode::Floor, &[hpa(None)]), None);
        let name = |others: &[Other]| obstacle(Mode::Floor, others).map(|reason| reason.name());
        assert_eq!(name(&[]), Some("TargetUnsuitable"));
        assert_eq!(name(&[hpa(None), hpa(None)]), Some("Conflict"));
        assert_eq!(name(&[hpa(Some("ScaledObject/web"))]), Some("Conflict"));
    }

    #[test]
    fn who_only_observes_is_in_nobodys_way() {
        assert_eq!(obstacle(Mode::Observe, &[hpa(None), hpa(None)]), None);
    }
}
