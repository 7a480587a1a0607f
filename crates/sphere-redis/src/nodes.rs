//! Which node owns a key now?
//!
//! A single node owns everything. In a cluster the 16,384 hash slots are spread over masters; the map is read
//! from any node (`CLUSTER SLOTS`) and corrected by the redirects we get. A wrong map costs a round trip, never a
//! wrong answer: a node refuses commands for slots that are not its own.

use crate::address::Address;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::link::{Link, Login};
use rand::seq::SliceRandom;
use redis::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Number of hash slots of a cluster, a constant of Redis.
pub(crate) const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM, by which Redis places a key.
const SLOT_CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);

/// Hash slot of all keys whose hash tag is `tag`.
pub(crate) fn slot_of(tag: &str) -> u16 {
    SLOT_CRC.checksum(tag.as_bytes()) % SLOTS
}

/// Who owns what.
#[derive(Clone, Debug, PartialEq)]
struct SlotMap {
    masters: Vec<Address>,
    replicas: Vec<Address>,
    /// Per slot the position of its owner in `masters`.
    owners: Vec<Option<u16>>,
}

impl SlotMap {
    fn empty() -> Self {
        Self { masters: Vec::new(), replicas: Vec::new(), owners: vec![None; usize::from(SLOTS)] }
    }

    /// Reads the answer to `CLUSTER SLOTS`: ranges, each with its master first, then its replicas. A node without a
    /// host is the one that answered.
    fn parse(answer: &Value, answering: &Address) -> Option<Self> {
        let mut map = Self::empty();
        let Value::Array(ranges) = answer else { return None };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = range.as_slice() else { return None };
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            let mut nodes = nodes.iter();
            let Some(master) = nodes.next().and_then(|node| address_of(node, answering)) else { continue };
            let owner = map.master(master)?;
            map.owners.get_mut(first..=last)?.fill(Some(owner));
            for replica in nodes.filter_map(|node| address_of(node, answering)) {
                if !map.replicas.contains(&replica) {
                    map.replicas.push(replica);
                }
            }
        }
        (!map.masters.is_empty()).then_some(map)
    }

    fn master(&mut self, address: Address) -> Option<u16> {
        let position = self.masters.iter().position(|master| *master == address).unwrap_or_else(|| {
            self.masters.push(address);
            self.masters.len() - 1
        });
        u16::try_from(position).ok()
    }

    fn owner(&self, slot: u16) -> Option<&Address> {
        let owner = *self.owners.get(usize::from(slot))?;
        self.masters.get(usize::from(owner?))
    }

    fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

fn address_of(node: &Value, answering: &Address) -> Option<Address> {
    let Value::Array(node) = node else { return None };
    let [host, Value::Int(port), ..] = node.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    match host {
        "?" => None,
        "" | "0.0.0.0" | "::" => Some(Address::new(&answering.host, u16::try_from(*port).ok()?)),
        host => Some(Address::new(host, u16::try_from(*port).ok()?)),
    }
}

/// All nodes we talk to. See the module text.
pub(crate) struct Nodes {
    login: Arc<Login>,
    counters: Arc<Counters>,
    configured: Vec<Address>,
    map: RwLock<Arc<SlotMap>>,
    read_at: tokio::sync::Mutex<Option<Instant>>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
}

impl Nodes {
    pub fn new(login: Arc<Login>, configured: Vec<Address>, counters: Arc<Counters>) -> Self {
        let map = RwLock::new(Arc::new(SlotMap::empty()));
        let read_at = tokio::sync::Mutex::new(None);
        Self { login, counters, configured, map, read_at, links: Mutex::default() }
    }

    pub fn login(&self) -> &Arc<Login> {
        &self.login
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn is_cluster(&self) -> bool {
        self.login.config().cluster
    }

    fn map(&self) -> Arc<SlotMap> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the slot map ever been read?
    pub fn knows_map(&self) -> bool {
        !self.map().masters.is_empty()
    }

    /// The connection to a node.
    pub fn link(&self, address: &Address) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(address.clone()).or_insert_with(|| {
            Arc::new(Link::new(address.clone(), self.login.clone(), self.counters.clone()))
        });
        link.clone()
    }

    /// Owner of a slot, as far as we know.
    pub fn owner(&self, slot: u16) -> Option<Address> {
        if self.is_cluster() { self.map().owner(slot).cloned() } else { self.configured.first().cloned() }
    }

    /// Owners of many slots, from one reading of the map.
    pub fn owners(&self, slots: impl Iterator<Item = u16>) -> Vec<Option<Address>> {
        let map = self.map();
        let single = self.configured.first().filter(|_| !self.is_cluster());
        slots.map(|slot| single.or_else(|| map.owner(slot)).cloned()).collect()
    }

    /// Masters that are known, else what was configured.
    pub fn masters(&self) -> Vec<Address> {
        let map = self.map();
        if self.is_cluster() && !map.masters.is_empty() {
            map.masters.clone()
        } else {
            self.configured.clone()
        }
    }

    /// All nodes, in random order, those of `avoid` last: where to ask something that any node can answer.
    pub fn anywhere(&self, avoid: &[Address]) -> Vec<Address> {
        let mut known = self.configured.clone();
        if self.is_cluster() {
            let map = self.map();
            for address in map.masters.iter().chain(&map.replicas) {
                if !known.contains(address) {
                    known.push(address.clone());
                }
            }
        }
        known.shuffle(&mut rand::rng());
        known.sort_by_key(|address| avoid.contains(address));
        known
    }

    /// A redirect is newer than any map.
    pub fn correct(&self, moved: impl IntoIterator<Item = (u16, Address)>) {
        let mut guard = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let map = Arc::make_mut(&mut guard);
        for (slot, to) in moved {
            let owner = map.master(to);
            if let Some(place) = map.owners.get_mut(usize::from(slot)) {
                *place = owner;
            }
        }
    }

    /// Reads the map anew, unless someone did so since this was called. The nodes of `avoid` are asked last.
    /// Returns the number of slots without an owner.
    pub async fn read_map(&self, avoid: &[Address]) -> Result<usize, Failure> {
        if !self.is_cluster() {
            return Ok(0);
        }
        let called = Instant::now();
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at >= called) {
            return Ok(self.map().uncovered());
        }
        Counters::add(&self.counters.map_reads, 1);
        let mut question = redis::pipe();
        question.cmd("CLUSTER").arg("SLOTS");
        let mut failure = None;
        for address in self.anywhere(avoid) {
            let answer = match self.link(&address).send(&question).await {
                Ok(answer) => match answer.into_iter().next() {
                    Some(Value::ServerError(error)) => Err(Failure::of(&error.into()).at(&address)),
                    answer => answer
                        .and_then(|answer| SlotMap::parse(&answer, &address))
                        .ok_or_else(|| Failure::Later(format!("{address}: knows no slot map"))),
                },
                Err(failure) => Err(failure),
            };
            match answer {
                Ok(map) => {
                    *read_at = Some(Instant::now());
                    return Ok(self.take(map));
                }
                Err(other) => failure = Some(Failure::join(failure, other)),
            }
        }
        Err(failure.unwrap_or_else(|| Failure::Later("no node is known".into())))
    }

    fn take(&self, map: SlotMap) -> usize {
        let uncovered = map.uncovered();
        let wanted = |address: &Address| {
            map.masters.contains(address)
                || map.replicas.contains(address)
                || self.configured.contains(address)
        };
        self.links.lock().unwrap_or_else(PoisonError::into_inner).retain(|address, _| wanted(address));
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        uncovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString("id".into())])
    }

    #[test]
    fn slots_are_those_of_redis() {
        // From the cluster specification: "123456789" has the checksum 0x31C3.
        assert_eq!(slot_of("123456789"), 0x31C3);
        assert_eq!(slot_of("foo"), 12182);
    }

    #[test]
    fn the_map_is_read_as_the_cluster_tells_it() {
        let answering = Address::new("10.0.0.9", 7000);
        let answer = Value::Array(vec![
            Value::Array(vec![Value::Int(0), Value::Int(99), node("10.0.0.1", 7001), node("10.0.0.2", 7002)]),
            Value::Array(vec![Value::Int(100), Value::Int(16_383), node("", 7003)]),
        ]);
        let mut map = SlotMap::parse(&answer, &answering).unwrap();
        assert_eq!(map.owner(99), Some(&Address::new("10.0.0.1", 7001)));
        assert_eq!(map.owner(100), Some(&Address::new("10.0.0.9", 7003)));
        assert_eq!(map.replicas, [Address::new("10.0.0.2", 7002)]);
        assert_eq!(map.uncovered(), 0);
        map.owners[5] = None;
        assert_eq!((map.uncovered(), map.owner(5)), (1, None));
    }

    #[test]
    fn a_damaged_map_is_no_map() {
        let answering = Address::new("h", 1);
        let range = |first, last| Value::Array(vec![Value::Int(first), Value::Int(last), node("h", 1)]);
        for answer in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![range(0, 16_384)]),
            Value::Array(vec![range(-1, 5)]),
            Value::Array(vec![Value::Int(1)]),
        ] {
            assert_eq!(SlotMap::parse(&answer, &answering), None, "{answer:?}");
        }
    }
}
