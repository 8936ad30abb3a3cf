use super::script::account;
use super::*;
use crate::{
    BlocksError, CancelReceipt, CancelTree, CancelledOrder, FILLS_PER_TRANSACTION_MAX, ReceiptError, StateProof,
    cancel_leaf, cancel_root_slot, cancelled_orders, join_roots,
};
use expect_test::{Expect, expect};
use keel_commitment::hash::starknet_keccak;
use keel_contracts::starknet::{self as contract, Key, Layout, NO_CANCEL_ROOT};
use keel_store::{Transaction, TrieId};
use std::fmt::Write;

/// Names of calls and events, for reading.
fn name(selector: &Felt) -> &'static str {
    const NAMES: &[&str] = &[
        "register",
        "settle_fills",
        "set_prices",
        "withdraw",
        "enter_safe_mode",
        "set_phase",
        "handle_deposit",
        "Trade",
        "Registered",
        "Deposited",
        "Withdrawn",
        "PriceSet",
        "PhaseChanged",
        "SafeModeEntered",
    ];
    NAMES.iter().find(|name| starknet_keccak(name.as_bytes()) == *selector).unwrap_or(&"?")
}

/// The calls of an `__execute__(calls)` calldata, by name, with the number of words of each.
fn calls(calldata: &[Felt]) -> String {
    let number = |felt: &Felt| usize::try_from(u64::try_from(*felt).unwrap()).unwrap();
    let (count, mut rest) = (number(&calldata[0]), &calldata[1..]);
    let mut names = vec![];
    for _ in 0..count {
        let (words, to) = (number(&rest[2]), rest[0]);
        assert_eq!(to, Felt::from(0xe_0000), "every call is of the exchange");
        names.push(format!("{}/{words}", name(&rest[1])));
        rest = &rest[3 + words..];
    }
    assert!(rest.is_empty(), "calldata ends with its last call");
    names.join(" + ")
}

/// The transactions of a block, one line each.
fn show(block: &Block) -> String {
    let mut text = String::new();
    for (transaction, receipt) in block.transactions.iter().zip(&block.receipts) {
        match transaction {
            Transaction::Invoke(invoke) => write!(text, "invoke {} {}", invoke.nonce, calls(&invoke.calldata)).unwrap(),
            Transaction::L1Handler(call) => write!(text, "handler {} {}", call.nonce, name(&call.selector)).unwrap(),
        }
        let events: Vec<&str> = receipt.events.iter().map(|event| name(&event.keys[0])).collect();
        writeln!(text, ", seq {}-{}: {}", receipt.first_seq, receipt.last_seq, events.join(" ")).unwrap();
        receipt
            .messages_sent
            .iter()
            .for_each(|message| writeln!(text, "  message of {} words", message.payload.len()).unwrap());
    }
    text
}

fn check(script: &str, height: u64, expected: Expect) {
    expected.assert_eq(&show(&TestChain::of(script).block(height)));
}

#[test]
fn every_command_that_changed_chain_state_is_in_one_transaction_in_order() {
    check(
        "register 1 | tick | deposit 7 1 500 | rest 1 | fill 0 1 2 | rest 2 | fill 0 2 1 | fill 1 1 2 | price 0 5 1 6 \
         | confirm | withdraw 1 3 | fill 0 1 2 3 | badseal | fill 0 1 2 | safe 3 | phase READ_ONLY | phase SPOT | seal",
        1,
        expect![[r#"
            invoke 0 register/3, seq 1-1: Registered
            handler 7 handle_deposit, seq 3-3: Deposited
            invoke 1 settle_fills/44 + settle_fills/36, seq 5-8: Trade Trade Trade
            invoke 2 set_prices/8, seq 9-9: PriceSet PriceSet
            invoke 3 withdraw/6, seq 11-11: Withdrawn
              message of 4 words
            invoke 4 settle_fills/68, seq 12-14: Trade Trade Trade Trade
            invoke 5 enter_safe_mode/7, seq 15-15: SafeModeEntered
            invoke 6 set_phase/5, seq 16-16: PhaseChanged
            invoke 7 set_phase/5, seq 17-17: PhaseChanged
        "#]],
    );
    check("tick | rest 1 | confirm | seal", 1, expect![""]);
    check(
        "register 1 | restore 1 2 | fill 1 1 2 | seal",
        1,
        expect![[r#"
            invoke 0 register/3, seq 1-1: Registered
            invoke 1 settle_fills/44 + settle_fills/36, seq 2-3: Trade Trade Trade
        "#]],
    );
    check(
        "register 1 | fill 0 1 2 | seal | fill 0 1 2 | seal",
        2,
        expect![[r#"
            invoke 2 settle_fills/32, seq 4-4: Trade
        "#]],
    );
}

#[test]
fn fills_share_a_transaction_up_to_a_limit_and_one_command_is_never_parted() {
    let max = FILLS_PER_TRANSACTION_MAX as u64;
    let counts = |script: &str| {
        let block = TestChain::of(script).block(1);
        block.receipts.iter().map(|receipt| receipt.events.len() as u64).collect::<Vec<_>>()
    };
    assert_eq!(counts(&format!("fill 0 1 2 {max} | fill 0 1 2 | seal")), [max, 1]);
    assert_eq!(counts(&format!("fill 0 1 2 {} | fill 1 1 2 | seal", max - 1)), [max]);
    assert_eq!(counts(&format!("fill 0 1 2 | fill 0 1 2 {} | fill 0 1 2 | seal", 2 * max)), [1, 2 * max, 1]);
}

#[test]
fn fills_share_a_transaction_for_200_ms_of_journal_time() {
    let seqs = |script: &str| {
        let block = TestChain::of(script).block(1);
        block.receipts.iter().map(|receipt| (receipt.first_seq.0, receipt.last_seq.0)).collect::<Vec<_>>()
    };
    assert_eq!(seqs("fill 0 1 2 | +199 fill 0 1 2 | seal"), [(1, 2)]);
    assert_eq!(seqs("fill 0 1 2 | +200 fill 0 1 2 | seal"), [(1, 1), (2, 2)]);
    // From the first of them, not from the last, whatever comes in between.
    assert_eq!(seqs("fill 0 1 2 | +150 fill 1 1 2 | +50 fill 0 1 2 | +199 fill 0 1 2 | seal"), [(1, 2), (3, 4)]);
    // A command that changes nothing closes it too, and one that is not the fills' own.
    assert_eq!(seqs("fill 0 1 2 | +200 tick | fill 0 1 2 | seal"), [(1, 1), (3, 3)]);
    assert_eq!(seqs("fill 0 1 2 | +200 rest 1 | +199 fill 0 1 2 | +300 seal"), [(1, 1), (3, 3)]);
    // A record is one moment: what comes late in it belongs to its time.
    assert_eq!(
        seqs("tick | & fill 0 1 2 | +200 fill 0 1 2 | & fill 0 1 2 | & tick | & fill 0 1 2 | seal"),
        [(2, 2), (3, 6)]
    );
}

#[test]
fn a_transaction_is_what_the_specification_says() {
    let chain = TestChain::of("register 1 | deposit 7 1 500 | withdraw 1 3 | seal");
    let (genesis, block) = (&chain.genesis, chain.block(1));
    let Transaction::L1Handler(deposit) = &block.transactions[1] else { panic!("a deposit is an L1 handler") };
    let (bridge, token) = (Felt::from_bytes_be_slice(&[0xb0; 20]), Felt::from_bytes_be_slice(&[1; 20]));
    assert_eq!(deposit.calldata, [bridge, token, account(1).0, Felt::from(500)]);
    assert_eq!((deposit.contract, deposit.nonce), (genesis.exchange.0, 7));
    // By its words: from, to, nonce, selector, length, payload.
    let payload = deposit.calldata[1..].to_vec();
    let words = [vec![bridge, genesis.exchange.0, Felt::from(7), deposit.selector, Felt::from(3)], payload].concat();
    let bytes: Vec<u8> = words.iter().flat_map(Felt::to_bytes_be).collect();
    assert_eq!(deposit.message_hash.0, keel_commitment::hash::keccak256(&bytes));
    let message = &block.receipts[2].messages_sent[0];
    assert_eq!((message.from_address, message.to_address), (genesis.exchange.0, bridge));
    assert_eq!(message.payload, [token, Felt::from_bytes_be_slice(&[0x77; 20]), Felt::from(3), Felt::from(1)]);
    let Transaction::Invoke(register) = &block.transactions[0] else { panic!("a registration is an invoke") };
    assert_eq!(register.sender, genesis.operator.0);
    let selector = starknet_keccak(b"register");
    let call = [genesis.exchange.0, selector, Felt::THREE, account(1).0, account(1).0 + Felt::ONE, Felt::ZERO];
    assert_eq!(register.calldata, [&[Felt::ONE][..], &call].concat());
    assert_eq!(block.receipts[0].events[0].from_address, genesis.exchange.0);
    // The operator's nonce after two invokes; the handler's is the message's.
    assert_eq!(block.diff.nonces, [(genesis.operator.0, Felt::TWO)].into());
}

#[test]
fn the_header_is_what_the_specification_says() {
    let chain = TestChain::of("+700 tick | +700 register 1 | +700 seal | seal");
    let (first, second) = (chain.block(1).header, chain.block(2).header);
    assert_eq!(first.block.parent_hash, chain.block(0).header.hash);
    assert_eq!(second.block.parent_hash, first.hash);
    assert_eq!(chain.block(0).header.block.parent_hash, Felt::ZERO);
    assert_eq!(chain.block(0).header.block.timestamp, chain.genesis.ts.secs());
    // The third record: 3 x 0.7 s after genesis, in whole seconds.
    assert_eq!((first.block.timestamp, first.ts.0), (chain.genesis.ts.secs() + 2, chain.genesis.ts.0 + 2_100_000_000));
    assert_eq!((first.first_seq, first.last_seq, second.first_seq), (Seq(1), Seq(3), Seq(4)));
    assert_eq!(first.engine_digest, Bytes32([1; 32]));
    assert_eq!(
        (first.block.starknet_version.as_str(), first.block.sequencer_address),
        ("0.14.2", chain.genesis.sequencer.0)
    );
    let prices = first.block.gas_prices;
    let all = [prices.l1_gas, prices.l1_data_gas, prices.l2_gas].map(|price| [price.wei, price.fri]);
    assert_eq!(all, [[1, 1]; 3]);
    for block in [chain.block(0), chain.block(1), chain.block(2)] {
        let signature = block.header.signature.unwrap();
        let public = chain.genesis.block_key.0;
        assert!(starknet_crypto::verify(&public, &block.header.hash, &signature.r, &signature.s).unwrap());
    }
}

#[test]
fn a_header_says_in_which_form_the_data_of_its_chain_is_published() {
    let ethereum = |data| SettlementLayer::Ethereum { chain_id: 1, data };
    for (layer, mode) in [
        (ethereum(DataForm::Blobs), L1DaMode::Blob),
        (ethereum(DataForm::Calldata), L1DaMode::Calldata),
        (SettlementLayer::Starknet { chain_id: Felt::ONE.into() }, L1DaMode::Calldata),
    ] {
        let mut genesis = genesis();
        genesis.settlement.layer = layer;
        let chain = TestChain::of_genesis(genesis);
        chain.feed(&Script::run(&chain.genesis, "register 1 | seal"));
        assert_eq!([0, 1].map(|height| chain.block(height).header.block.l1_da_mode), [mode; 2], "{layer}");
    }
}

#[test]
fn genesis_holds_the_contracts_and_the_state_of_a_new_engine() {
    let chain = TestChain::new();
    let block = chain.block(0);
    assert!(block.transactions.is_empty());
    let class = |address: Address| chain.store.class_hash_latest(&address.0).unwrap();
    assert_eq!(class(chain.genesis.exchange), Some(contract::exchange_class().class_hash));
    assert_eq!(class(chain.genesis.operator), Some(contract::account_class().class_hash));
    assert_eq!(block.diff.declared_classes.len(), contract::classes().len());
    let mut layout = Layout::new();
    for write in genesis_writes(&chain.genesis) {
        let loaded = layout.load(&chain.genesis, &write, &mut |slot| chain.read(slot));
        assert_eq!(loaded.unwrap(), write);
    }
    // No command, and already the counter of aliases and the alias of each changed key.
    assert!(chain.store.storage_latest(&Felt::TWO, &chain.genesis.exchange.0).unwrap() >= Felt::from(128));
    assert_eq!(chain.store.check_roots().unwrap(), None);
}

#[test]
fn the_diff_has_the_last_value_of_what_really_changed() {
    let chain = TestChain::of(
        "deposit 1 1 500 | deposit 2 1 500 | seal | price 0 5 | price 0 6 | deposit 3 2 5 | withdraw 2 5 | deposit 4 1 1 | withdraw 1 1 | seal",
    );
    let balance = Key::Balance(account(1), QUOTE).slot();
    let entries = |height| chain.block(height).diff.storage[&chain.genesis.exchange.0].clone();
    assert_eq!(entries(1)[&balance], contract::encode_signed(100_000));
    assert!(!entries(2).contains_key(&balance), "the balance ends where it began");
    let price = Key::Price(MarketId(0)).slot();
    assert_eq!(entries(2)[&(price + Felt::ONE)], Felt::from(6));
    assert!(!entries(2).contains_key(&price), "the version of a record is written once");
    assert_eq!(chain.store.storage_at(&chain.genesis.exchange.0, &balance, Height(0)).unwrap(), Felt::ZERO);
}

#[test]
fn block_n_holds_the_hash_of_block_n_minus_10() {
    let chain = TestChain::of(&"tick | seal |".repeat(13));
    for height in 0..=13 {
        let entry = chain.block(height).diff.storage.get(&Felt::ONE).cloned();
        let expected = height.checked_sub(10).map(|buried| [(Felt::from(buried), chain.block(buried).header.hash)].into());
        assert_eq!(entry, expected, "block {height}");
    }
    assert_eq!(chain.store.check_roots().unwrap(), None);
}

#[test]
fn the_cancel_root_is_in_the_incident_and_proves_each_order() {
    let script = "deposit 1 1 5 | safe 3 | seal | phase READ_ONLY | phase SPOT | seal | safe 2 | seal | safe 0 | seal";
    let chain = TestChain::of(script);
    let released = Script::run(&chain.genesis, script);
    let safe: Vec<&Executed> = released
        .iter()
        .map(|record| &record.executed[0])
        .filter(|executed| !cancelled_orders(executed).is_empty())
        .collect();
    let [first, second] = [0, 1].map(|i| CancelTree::of(safe[i]));
    let slot = Key::Incident(IncidentId(1)).slot() + Felt::from(contract::CANCEL_ROOT_OFFSET);
    let root_at = |height| chain.store.storage_at(&chain.genesis.exchange.0, &slot, Height(height)).unwrap();
    let joined = join_roots(first.root(), second.root()).unwrap();
    assert_eq!([1, 2, 3, 4].map(root_at), [first.root().unwrap(), first.root().unwrap(), joined, joined]);
    for (index, order) in (0..).zip(cancelled_orders(safe[0])) {
        assert_eq!(first.path(index).unwrap().root(cancel_leaf(&order, Seq(2))), root_at(1));
        assert_ne!(first.path(index).unwrap().root(cancel_leaf(&order, Seq(3))), root_at(1));
    }
    // Opening SPOT put the integrity report beside it and left the root.
    let report = chain.store.storage_at(&chain.genesis.exchange.0, &(slot + Felt::ONE), Height(2)).unwrap();
    assert_eq!(report, contract::encode_count(u128::from_be_bytes([0x1b; 16])));
    let nothing = TestChain::of("safe 0 | seal");
    assert_eq!(nothing.read(slot), NO_CANCEL_ROOT);
}

#[test]
fn a_receipt_holds_against_the_root_of_the_state_and_no_changed_one_does() {
    let script =
        "deposit 1 1 5 | safe 3 | seal | phase READ_ONLY | phase SPOT | seal | safe 2 | seal | deposit 2 1 5 | seal";
    let chain = TestChain::of(script);
    let released = Script::run(&chain.genesis, script);
    let entered =
        released.iter().map(|record| &record.executed[0]).filter(|executed| !cancelled_orders(executed).is_empty());
    let entered: Vec<&Executed> = entered.collect();
    let trees = [0, 1].map(|record: usize| CancelTree::of(entered[record]));
    let (incident, exchange) = (IncidentId(1), chain.genesis.exchange);
    let proof = |block: u64| {
        let state = chain.store.state_at(Height(block)).unwrap();
        let header = chain.block(block).header;
        StateProof {
            block: Height(block),
            contract: state.contract_state(&exchange.0).unwrap(),
            contracts_root: header.contracts_root,
            classes_root: header.classes_root,
            contracts: state.prove(TrieId::Contracts, &[exchange.0]).unwrap().into_iter().collect(),
            storage: state.prove(TrieId::Storage(exchange.0), &[cancel_root_slot(incident)]).unwrap().into_iter().collect(),
        }
    };
    let root = |block: u64| chain.block(block).header.block.state_root;
    // After the first record its own tree is all; from the second on both are joined, in every later state.
    for (block, records) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        for record in 0..records {
            let seq = entered[record].seq;
            for (index, update) in (0..).zip(cancelled_orders(entered[record])) {
                let before = trees[..record].iter().map(CancelTree::root).fold(None, join_roots);
                let after = trees[record + 1..records].iter().filter_map(CancelTree::root);
                let receipt = CancelReceipt {
                    incident,
                    order: CancelledOrder::of(&update, seq),
                    path: trees[record].path(index).unwrap().joined(before, after),
                    state: proof(block),
                };
                receipt.verify(exchange, root(block)).unwrap();

                let refused = |what: &str, change: fn(&mut CancelReceipt)| {
                    let mut changed = receipt.clone();
                    change(&mut changed);
                    changed.verify(exchange, root(block)).expect_err(what)
                };
                let other = |error| matches!(error, ReceiptError::OtherCancelRoot { .. });
                assert!(other(refused("size", |receipt| receipt.order.remaining.0 += 1)));
                assert!(other(refused("account", |receipt| receipt.order.account.0 += Felt::ONE)));
                assert!(other(refused("order", |receipt| receipt.order.order.0 += Felt::ONE)));
                assert!(other(refused("market", |receipt| receipt.order.market.0 += 1)));
                assert!(other(refused("seq", |receipt| receipt.order.seq.0 += 1)));
                assert!(other(refused("place", |receipt| receipt.path.index ^= 1)));
                assert!(other(refused("sibling", |receipt| receipt.path.siblings[0] += Felt::ONE)));
                // The slot of an incident that never was is empty, and the proof shows it or does not.
                refused("incident", |receipt| receipt.incident.0 += 1);
                let nonce = refused("nonce", |receipt| receipt.state.contract.nonce += Felt::ONE);
                assert_eq!(nonce, ReceiptError::OtherContract);
                let classes = refused("classes", |receipt| receipt.state.classes_root += Felt::ONE);
                assert!(matches!(classes, ReceiptError::OtherRoot { .. }));
                let node = refused("a node", |receipt| assert!(receipt.state.storage.pop_first().is_some()));
                assert!(matches!(node, ReceiptError::Storage(_)));
                let node = refused("a node", |receipt| assert!(receipt.state.contracts.pop_first().is_some()));
                assert!(matches!(node, ReceiptError::Contract(_)));
                assert!(receipt.verify(exchange, root(0)).is_err(), "the root of another state");
            }
        }
    }
}

#[test]
fn an_incident_entered_again_without_anything_new_keeps_its_record() {
    let chain = TestChain::of("safe 2 | phase READ_ONLY | safe 0 | seal | phase READ_ONLY | seal | safe 0 | seal");
    let (slot, phase) = (Key::Incident(IncidentId(1)).slot(), Key::Phase.slot() + Felt::ONE);
    let at = |slot, height| chain.store.storage_at(&chain.genesis.exchange.0, &slot, Height(height)).unwrap();
    for offset in 0..8u64 {
        let slot = slot + Felt::from(offset);
        assert!(at(slot, 1) != Felt::ZERO && at(slot, 1) == at(slot, 3), "word {offset}");
    }
    assert_eq!([1, 2, 3].map(|height| at(phase, height)), [1, 2, 1].map(Felt::from));
    let words = |height: u64, transaction: usize| {
        let Transaction::Invoke(invoke) = &chain.block(height).transactions[transaction] else { panic!("an invoke") };
        // n_calls, to, selector, length, then the incident's words; the last is the time of this entry.
        invoke.calldata[4..10].to_vec()
    };
    assert_eq!(words(1, 0), words(1, 2));
    assert_eq!(words(1, 0), words(3, 0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let genesis = genesis();
    let run = |script: &str| {
        Script::run(&genesis, script).into_iter().map(|record| record.executed[0].clone()).collect::<Vec<_>>()
    };
    let with_writes = |script: &str, writes: &[StateWrite]| {
        let mut executed = run(script);
        executed[0].writes.extend_from_slice(writes);
        executed
    };
    let stray = StateWrite::WithdrawalCount { count: 9 };
    let without_events = |script: &str| {
        let mut executed = run(script);
        executed[0].events.clear();
        executed
    };
    let cases: Vec<(&str, Vec<Executed>)> = vec![
        ("a tick that writes", with_writes("tick", std::slice::from_ref(&stray))),
        ("a deposit that writes more", with_writes("deposit 1 1 5", std::slice::from_ref(&stray))),
        ("fills that write more", with_writes("fill 0 1 2", std::slice::from_ref(&stray))),
        ("prices that write more", with_writes("price 0 5", std::slice::from_ref(&stray))),
        ("a registration that writes more", with_writes("register 1", std::slice::from_ref(&stray))),
        ("safe mode that writes more", with_writes("safe 1", std::slice::from_ref(&stray))),
        ("an order that writes and fills nothing", with_writes("rest 1", std::slice::from_ref(&stray))),
        ("a withdrawal without its event", without_events("withdraw 1 1")),
        ("a deposit without its event", without_events("deposit 1 1 1")),
        ("cancellations without their orders", without_events("safe 2")),
    ];
    for (name, executed) in cases {
        let result = TestChain::new().builder().add(&executed[0], Ts(1)).map(|_| ());
        assert!(
            matches!(result, Err(BlocksError::Unexplained { .. } | BlocksError::Incoherent { .. })),
            "{name}: {result:?}"
        );
    }
    let gap = TestChain::new().builder().add(&run("tick | tick")[1], Ts(1)).map(|_| ());
    assert!(matches!(gap, Err(BlocksError::NotNext { .. })), "{gap:?}");
    let twice = TestChain::new();
    let seals = run("seal | seal");
    let mut builder = twice.builder();
    builder.add(&seals[0], Ts(1)).unwrap().expect("a block");
    let uncommitted = builder.add(&seals[1], Ts(1)).map(|_| ());
    assert!(matches!(uncommitted, Err(BlocksError::OtherHeight { .. })), "{uncommitted:?}");
    let other = BlockKey::new(secret() + Felt::ONE, &genesis);
    assert!(matches!(other, Err(BlocksError::OtherKey { .. })));
}
