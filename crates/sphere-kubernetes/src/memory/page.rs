//! What does one ConfigMap of memory hold?
//!
//! Lines of JSON, gzip: a header with the version, then one line per workload. Bounded: what would make the page too
//! large is left out, the oldest first, and so is what nobody has written for a week.

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sphere_core::WorkloadId;
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Largest page, bytes. An object in etcd may have 1.5 MiB, a ConfigMap 1 MiB; base64 takes a third more on the way.
pub const LARGEST: usize = 700 << 10;
/// Largest page unpacked, bytes: far more than what packs into [`LARGEST`].
const LARGEST_UNPACKED: u64 = 64 << 20;
/// What nobody has written for this long is forgotten, milliseconds.
pub const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

/// What is remembered of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was last written, milliseconds since the epoch.
    pub at_ms: i64,
    /// JSON.
    pub value: Bytes,
}

/// What is remembered, by workload.
pub type Entries = BTreeMap<WorkloadId, Entry>;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Line {
    workload: WorkloadId,
    at: i64,
    state: serde_json::Value,
}

/// Why a page can not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is not packed as we pack.
    #[error("it can not be unpacked: {0}")]
    Packing(#[from] std::io::Error),
    /// It does not say what we say.
    #[error("{0}")]
    Content(String),
}

/// Packs what fits; gives the page and how many entries were left out.
pub fn pack(entries: &Entries, now_ms: i64) -> Result<(Vec<u8>, usize), PageError> {
    let mut kept: Vec<(&WorkloadId, &Entry)> =
        entries.iter().filter(|(_, entry)| now_ms.saturating_sub(entry.at_ms) < KEPT_MS).collect();
    loop {
        let page = pack_all(&kept)?;
        if page.len() <= LARGEST || kept.is_empty() {
            return Ok((page, entries.len() - kept.len()));
        }
        // The oldest tenth goes; at this size one more round is rare.
        kept.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at_ms));
        kept.truncate(kept.len() * 9 / 10);
    }
}

fn pack_all(entries: &[(&WorkloadId, &Entry)]) -> Result<Vec<u8>, PageError> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    writeln!(packer, "{{\"version\":{VERSION}}}")?;
    for (workload, Entry { at_ms, value }) in entries {
        // The identity has no characters that JSON would escape; the value is JSON in one line already.
        write!(packer, "{{\"workload\":\"{workload}\",\"at\":{at_ms},\"state\":")?;
        packer.write_all(value)?;
        packer.write_all(b"}\n")?;
    }
    Ok(packer.finish()?)
}

/// Unpacks a page; entries that can not be read are counted.
pub fn unpack(page: &[u8]) -> Result<(Entries, usize), PageError> {
    let mut text = String::new();
    let read = GzDecoder::new(page).take(LARGEST_UNPACKED + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST_UNPACKED {
        return Err(PageError::Content(format!("more than {LARGEST_UNPACKED} bytes unpacked")));
    }
    let mut lines = text.lines();
    let header: Option<Header> = lines.next().and_then(|line| serde_json::from_str(line).ok());
    match header {
        Some(Header { version: VERSION }) => {}
        Some(Header { version }) => {
            return Err(PageError::Content(format!(
                "version {version}; this program reads version {VERSION}"
            )));
        }
        None => return Err(PageError::Content("no header".into())),
    }
    let (mut entries, mut unreadable) = (Entries::new(), 0);
    for line in lines {
        match serde_json::from_str::<Line>(line) {
            Ok(Line { workload, at, state }) => {
                let value = Bytes::from(state.to_string());
                entries.insert(workload, Entry { at_ms: at, value });
            }
            Err(_) => unreadable += 1,
        }
    }
    Ok((entries, unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: usize) -> WorkloadId {
        format!("shop/Deployment/web-{n}").parse().unwrap()
    }

    fn entry(at_ms: i64, value: serde_json::Value) -> Entry {
        Entry { at_ms, value: Bytes::from(value.to_string()) }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_bit_for_bit(values in prop::collection::vec((any::<f64>(), 0..1000i64), 0..30)) {
            let entries: Entries = values
                .iter()
                .enumerate()
                .map(|(n, (x, at))| (id(n), entry(*at, serde_json::json!({"x": x, "text": "a\nb\"c"}))))
                .collect();
            let (page, left_out) = pack(&entries, 1000).unwrap();
            prop_assert_eq!(left_out, 0);
            prop_assert_eq!(unpack(&page).unwrap(), (entries, 0));
        }
    }

    #[test]
    fn a_page_stays_below_its_size_and_the_oldest_goes_first() {
        let mut random = fastrand::Rng::with_seed(1);
        // Hardly compressible: 2 kB each.
        let entries: Entries = (0..600)
            .map(|n| {
                let noise: String = std::iter::repeat_with(|| random.alphanumeric()).take(3000).collect();
                (id(n), entry(n as i64, serde_json::json!({ "noise": noise })))
            })
            .collect();
        let (page, left_out) = pack(&entries, 1000).unwrap();
        assert!(page.len() <= LARGEST && left_out > 0, "{} {left_out}", page.len());
        let (kept, _) = unpack(&page).unwrap();
        assert_eq!(kept.len(), 600 - left_out);
        assert!(kept.values().all(|e| e.at_ms >= left_out as i64));
    }

    #[test]
    fn what_is_a_week_old_is_forgotten() {
        let entries = Entries::from([(id(1), entry(0, 1.into())), (id(2), entry(KEPT_MS, 2.into()))]);
        let (page, left_out) = pack(&entries, KEPT_MS + 1).unwrap();
        assert_eq!((unpack(&page).unwrap().0.len(), left_out), (1, 1));
    }

    #[test]
    fn a_page_of_another_version_or_of_nothing_is_refused() {
        let packed = |text: &str| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        assert!(unpack(&packed("{\"version\":2}\n")).unwrap_err().to_string().contains("version 2"));
        assert!(unpack(&packed("")).is_err());
        assert!(unpack(b"garbage").is_err());
        let half =
            packed("{\"version\":1}\n{\"workload\":\"x\"}\n{\"workload\":\"a/B/c\",\"at\":1,\"state\":{}}\n");
        let (entries, unreadable) = unpack(&half).unwrap();
        assert_eq!((entries.len(), unreadable), (1, 1));
    }
}
