use super::*;
use crate::{EventFilter, EventPosition, Invoke};
use keel_commitment::commitments::Event;

/// A chain of `blocks` blocks with two transactions each and two events in each: (contract 100 or 101, keys [block, n]).
fn chain(blocks: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for block in 0..blocks {
        let content = (0..2).map(|transaction| {
            let hash = felt(1_000 * (block + 1) + transaction);
            let events = (0..2).map(|n| {
                let keys = vec![felt(block), felt(2 * transaction + n)];
                Event { from_address: felt(100 + transaction), keys, data: vec![felt(n)] }
            });
            let invoke = Invoke { hash, sender: felt(3), nonce: 0, calldata: vec![] };
            (Transaction::Invoke(invoke), Receipt { transaction_hash: hash, events: events.collect(), ..Default::default() })
        });
        commit_with(&store, storage_diff(5, &[(block, 1)]), content.collect());
    }
    (dir, store)
}

/// Every event found, as (block, index in it), in pages of `limit`.
fn found(store: &Store, filter: &EventFilter, limit: usize) -> Vec<(u64, u32)> {
    let (mut found, mut at) = (vec![], None);
    loop {
        let page = store.events(filter, at, limit).unwrap();
        assert!(page.events.len() <= limit);
        found.extend(page.events.iter().map(|event| (event.height.0, event.index)));
        at = page.next;
        if at.is_none() {
            return found;
        }
    }
}

#[test]
fn pages_of_any_size_give_the_same_events() {
    let (_dir, store) = chain(5);
    let any = EventFilter { from: height(0), to: height(99), addresses: vec![], keys: vec![] };
    let all: Vec<(u64, u32)> = (0..5).flat_map(|block| (0..4).map(move |n| (block, n))).collect();
    for limit in [1, 2, 3, 7, 19, 20, 21] {
        assert_eq!(found(&store, &any, limit), all, "pages of {limit}");
    }
    type Case<'a> = (&'a str, EventFilter, &'a [(u64, u32)]);
    let cases: [Case; 6] = [
        ("one block", EventFilter { from: height(2), to: height(2), ..any.clone() }, &all[8..12]),
        (
            "address",
            EventFilter { to: height(1), addresses: vec![felt(101)], ..any.clone() },
            &[(0, 2), (0, 3), (1, 2), (1, 3)],
        ),
        ("two addresses", EventFilter { to: height(0), addresses: vec![felt(101), felt(100)], ..any.clone() }, &all[..4]),
        (
            "first key",
            EventFilter { keys: vec![vec![felt(1), felt(3)], vec![]], ..any.clone() },
            &[&all[4..8], &all[12..16]].concat(),
        ),
        (
            "second key alone",
            EventFilter { keys: vec![vec![], vec![felt(3)]], to: height(1), ..any.clone() },
            &[(0, 3), (1, 3)],
        ),
        ("a third key that no event has", EventFilter { keys: vec![vec![], vec![], vec![felt(0)]], ..any.clone() }, &[]),
    ];
    for (name, filter, expected) in cases {
        assert_eq!(found(&store, &filter, 3), expected, "{name}");
    }
}

#[test]
fn an_event_is_found_with_its_place() {
    let (_dir, store) = chain(3);
    let filter = EventFilter { from: height(1), to: height(2), addresses: vec![], keys: vec![vec![], vec![felt(3)]] };
    let page = store.events(&filter, Some(EventPosition { height: height(1), index: 0 }), 1).unwrap();
    let event = &page.events[0];
    assert_eq!((event.height, event.index, event.transaction_index), (height(1), 3, 1));
    assert_eq!(event.transaction_hash, felt(2_001));
    assert_eq!(event.block_hash, store.header(height(1)).unwrap().unwrap().hash);
    assert_eq!(event.event.data, [felt(1)]);
    assert_eq!(page.next, Some(EventPosition { height: height(2), index: 3 }), "the next that may match");
    // A position before the range does not widen it.
    let early = store.events(&filter, Some(EventPosition { height: height(0), index: 0 }), 9).unwrap();
    assert_eq!(early.events.len(), 2);
}

/// Lists of more alternatives than there are cursors are scanned for: both ways must give the same events in pages of any size.
#[test]
fn looking_up_and_scanning_find_the_same_events() {
    let (_dir, store) = chain(7);
    let many = |keys: &[u64]| -> Vec<Felt> { keys.iter().copied().chain(1_000..1_100).map(felt).collect() };
    let few = |keys: &[u64]| -> Vec<Felt> { keys.iter().copied().map(felt).collect() };
    let any = EventFilter { from: height(1), to: height(5), addresses: vec![], keys: vec![] };
    let cases: [(&[u64], &[u64], usize); 8] = [
        (&[2], &[], 4),
        (&[], &[3], 5),
        (&[], &[0, 3], 10),
        (&[2, 4, 6], &[0, 1], 4),
        (&[0], &[], 0),
        (&[1, 2, 3, 4, 5], &[3, 2, 1, 0], 20),
        (&[9], &[1], 0),
        (&[2, 2], &[1, 1], 1),
    ];
    let lists = |make: &dyn Fn(&[u64]) -> Vec<Felt>, block: &[u64], n: &[u64]| {
        vec![if block.is_empty() { vec![] } else { make(block) }, if n.is_empty() { vec![] } else { make(n) }]
    };
    for (block, n, count) in cases {
        for addresses in [vec![], vec![felt(100)]] {
            let looked_up = EventFilter { keys: lists(&few, block, n), addresses: addresses.clone(), ..any.clone() };
            let scanned = EventFilter { keys: lists(&many, block, n), addresses: addresses.clone(), ..any.clone() };
            let expected = found(&store, &scanned, 100);
            assert!(addresses.len() == 1 || expected.len() == count, "{block:?} {n:?}: {expected:?}");
            for limit in [1, 2, 3, 5, 100] {
                assert_eq!(found(&store, &looked_up, limit), expected, "{block:?} {n:?}, pages of {limit}");
            }
        }
    }
}
