//! Which workloads are ours, by which objects, and which objects can not be obeyed?
//!
//! A target has one owner: of two objects that name the same, the older one keeps it, and the younger one is told so.
//! An object that can not be read, or asks for what can not be meant, is told all that is wrong with it and otherwise
//! left alone.

use sphere_core::WorkloadId;
use sphere_pipeline::workload::{Workload, Workloads};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A PredictiveAutoscaler as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its name.
    pub key: ObjectKey,
    /// Its identity.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// When it was made, seconds since the epoch; what does not say so counts as new.
    pub created_s: Option<i64>,
    /// Switched off by its annotation.
    pub disabled: bool,
    /// What it asks for, or all that is wrong with that.
    pub workload: Result<Arc<Workload>, Vec<String>>,
}

/// Why an object is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All that is wrong with its spec.
    Invalid(Vec<String>),
    /// An older object has the same target.
    Twin {
        /// The older one.
        of: ObjectKey,
        /// The target.
        target: WorkloadId,
    },
}

/// All objects, sorted out.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// Who stands for a workload.
    pub owners: HashMap<WorkloadId, Arc<Found>>,
    /// Who does not, and why.
    pub refused: Vec<(Arc<Found>, Refusal)>,
}

impl Roster {
    /// Sorts objects out.
    pub fn new(mut found: Vec<Arc<Found>>) -> Self {
        // The older first; the uid settles what was made in the same second, the same way every time.
        found.sort_by(|a, b| {
            let age = |f: &Found| f.created_s.unwrap_or(i64::MAX);
            age(a).cmp(&age(b)).then_with(|| a.uid.cmp(&b.uid)).then_with(|| a.key.cmp(&b.key))
        });
        let mut roster = Self::default();
        for object in found {
            match &object.workload {
                Err(problems) => {
                    let refusal = Refusal::Invalid(problems.clone());
                    roster.refused.push((object, refusal));
                }
                Ok(workload) => match roster.owners.get(&workload.id) {
                    Some(older) => {
                        let refusal = Refusal::Twin { of: older.key.clone(), target: workload.id.clone() };
                        roster.refused.push((object, refusal));
                    }
                    None => {
                        let id = workload.id.clone();
                        roster.owners.insert(id, object);
                    }
                },
            }
        }
        roster
    }

    /// The workloads, in the order of their identities.
    pub fn workloads(&self) -> Workloads {
        let mut all: Vec<&Arc<Workload>> =
            self.owners.values().filter_map(|found| found.workload.as_ref().ok()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Workloads::new(all.into_iter().map(|workload| (**workload).clone()))
    }
}

/// Do both ask for the same?
pub fn same(a: &Workloads, b: &Workloads) -> bool {
    a.all().len() == b.all().len() && a.all().iter().zip(b.all()).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_pipeline::workload::WorkloadSpec;

    fn found(name: &str, target: &str, created_s: i64) -> Arc<Found> {
        let id: WorkloadId = format!("shop/Deployment/{target}").parse().unwrap();
        Arc::new(Found {
            key: ObjectKey { namespace: "shop".into(), name: name.into() },
            uid: format!("uid-{name}"),
            generation: Some(1),
            created_s: Some(created_s),
            disabled: false,
            workload: Ok(Arc::new(Workload::new(WorkloadSpec::new(&id, 1, 5)).unwrap())),
        })
    }

    #[test]
    fn of_two_objects_on_one_target_the_older_keeps_it_whatever_the_order() {
        let all = [found("young", "web", 20), found("old", "web", 10), found("other", "db", 30)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let roster = Roster::new(order.iter().map(|i| Arc::clone(&all[*i])).collect());
            assert_eq!(roster.owners.len(), 2);
            let web = &"shop/Deployment/web".parse().unwrap();
            assert_eq!(roster.owners[web].key.name, "old");
            let [(refused, Refusal::Twin { of, .. })] = &roster.refused[..] else { panic!("{roster:?}") };
            assert_eq!((refused.key.name.as_str(), of.name.as_str()), ("young", "old"));
            assert_eq!(roster.workloads().all().len(), 2);
        }
    }

    #[test]
    fn the_younger_takes_over_when_the_older_goes() {
        let roster = Roster::new(vec![found("young", "web", 20)]);
        assert_eq!(roster.owners.len(), 1);
        assert!(roster.refused.is_empty());
    }

    #[test]
    fn an_object_that_can_not_be_meant_keeps_nothing_from_others() {
        let broken = Arc::new(Found {
            workload: Err(vec!["a".into(), "b".into()]),
            ..(*found("x", "web", 1)).clone()
        });
        let roster = Roster::new(vec![broken, found("y", "web", 2)]);
        assert_eq!(roster.owners.len(), 1);
        assert_eq!(roster.refused[0].1, Refusal::Invalid(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn the_same_specs_are_the_same() {
        let of = |created| Roster::new(vec![found("a", "web", created), found("b", "db", 2)]).workloads();
        assert!(same(&of(1), &of(3)));
        assert!(!same(&of(1), &Roster::default().workloads()));
    }
}
