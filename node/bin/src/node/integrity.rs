use crate::gate::{Report, Verdict};
use keel_rpc::{Integrity, IntegrityReport, IntegrityVerdict};
use keel_types::{Bytes32, Height, IncidentId, Ts};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the integrity gate said last. Shared with the status page, which must not read a disk for it.
#[derive(Clone, Default)]
pub struct LastIntegrity(Arc<Mutex<Option<Integrity>>>);

impl LastIntegrity {
    /// From the newest report in the folder of incidents. One that cannot be read is passed over: the gate writes another before SPOT.
    pub fn load(folder: &Path) -> LastIntegrity {
        let reports = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
            let report: Report = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
            let hash = report.hash.parse().ok()?;
            Some(((report.incident, report.seq), passed(&report, hash, None)))
        });
        let newest = reports.max_by_key(|(order, _)| *order);
        LastIntegrity(Arc::new(Mutex::new(newest.map(|(_, integrity)| integrity))))
    }

    /// The gate runs.
    pub fn running(&self, incident: IncidentId, at: Ts) {
        *self.lock() = Some(Integrity { incident, at: Some(at), verdict: IntegrityVerdict::Running });
    }

    /// The gate has spoken.
    pub fn said(&self, incident: IncidentId, at: Ts, verdict: &Verdict) {
        let plain = |verdict| Integrity { incident, at: Some(at), verdict };
        *self.lock() = Some(match verdict {
            Verdict::Passed(report) => passed(report, report.hash_bytes(), Some(at)),
            Verdict::NotYet(_) => plain(IntegrityVerdict::NotYet),
            Verdict::Broken(reason, why) => plain(IntegrityVerdict::Broken(*reason, why.clone())),
        });
    }

    /// What it said last.
    pub fn get(&self) -> Option<Integrity> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Integrity>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn passed(report: &Report, hash: Bytes32, at: Option<Ts>) -> Integrity {
    let Report { incident, height, state_root, checks, .. } = report;
    let verdict = IntegrityVerdict::Passed(IntegrityReport {
        height: Height(*height),
        root: state_root.clone(),
        checks: checks.clone(),
        hash,
    });
    Integrity { incident: IncidentId(*incident), at, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_restart_the_newest_report_of_the_newest_incident_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LastIntegrity::load(&folder.path().join("gone")).get(), None);
        for (incident, seq) in [(2, 700), (10, 9_000), (10, 12_000), (9, 99_000)] {
            let report = Report {
                incident,
                height: seq / 10,
                block_hash: "0x1".into(),
                state_root: "0x2".into(),
                seq,
                engine_digest: "0x3".into(),
                checks: vec!["all is well".into()],
                hash: Bytes32([7; 32]).to_string(),
                signature: ["0x4".into(), "0x5".into()],
            };
            let file = folder.path().join(format!("integrity-{incident}-{seq}.json"));
            std::fs::write(file, serde_json::to_vec(&report).unwrap()).unwrap();
        }
        std::fs::write(folder.path().join("integrity-11-1.json"), "half a rep").unwrap();
        let last = LastIntegrity::load(folder.path()).get().unwrap();
        let IntegrityVerdict::Passed(report) = last.verdict else { panic!("{last:?}") };
        assert_eq!((last.incident, report.height, report.hash), (IncidentId(10), Height(1_200), Bytes32([7; 32])));
    }
}
