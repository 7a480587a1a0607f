//! How many replicas should a workload have, and why?
