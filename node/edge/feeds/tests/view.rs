//! The published view against the engine that it publishes.
mod story;

use keel_feeds::{OrderView, PhaseChange, Published, TIMELINE_STEPS_MAX, View, start_history, start_releaser};
use keel_ingress::KeyDirectory;
use keel_ingress::queue::Answer;
use keel_store::{HistoryWriter, Store};
use keel_types::*;
use std::sync::Arc;
use story::{ACTORS, Story, UNIT, account};

/// What of the open orders a dump knows as well as a stream does: all but why they last changed.
fn open_orders(view: &View) -> Vec<OrderUpdate> {
    let known = |update: OrderUpdate| OrderUpdate { reason: Reason::None, initiator: Initiator::User, ..update };
    let mut orders: Vec<_> = view.orders().open().map(|order| known(order.update)).collect();
    orders.sort_by_key(|order| order.order);
    orders
}

fn assert_is_the_engine(view: &View, story: &Story) {
    let fresh = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
    assert_eq!(view.at(), fresh.at());
    assert_eq!(view.state(), fresh.state());
    assert_eq!(view.phase().phase, story.engine.phase().phase);
    assert_eq!(view.phase().post_only_until, story.engine.phase().post_only_until);
    assert_eq!(open_orders(view), open_orders(&fresh));
    assert_eq!(view.orders().open_count(), story.engine.open_orders());
    for market in 0..3 {
        assert_eq!(view.orders().book(MarketId(market)), fresh.orders().book(MarketId(market)));
    }
    for actor in 0..ACTORS {
        let summary = view.summary(account(actor)).expect("every actor holds something");
        let engine = story.engine.account(&account(actor)).expect("every actor is known");
        assert_eq!(summary.key.map(|(key, _)| key), engine.key);
        assert_eq!(summary.margin, engine.margin, "margin of actor {actor}");
        for balance in &summary.balances {
            let held = engine.holdings.balance(balance.asset);
            assert_eq!(
                (balance.total, balance.reserved),
                (held.total, held.reserved),
                "{:?} of actor {actor}",
                balance.asset
            );
        }
    }
}

#[test]
fn a_view_that_followed_the_stream_is_the_view_of_a_fresh_dump() {
    for seed in 1..=4 {
        let mut story = Story::new(seed);
        let mut view = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
        let opening = story.opening();
        view.apply(&story.execute(opening));
        let (mut fills, mut open_max, mut incidents) = (0, 0, 0);
        for step in 0..1_500 {
            let mut commands: Vec<Command> = (0..1 + story.random.below(3)).map(|_| story.command()).collect();
            commands.push(Command::Tick);
            let released = story.execute(commands);
            view.apply(&released);
            let ended = released.executed.iter().filter(|e| matches!(e.command, Command::EnterSafeMode(_)));
            for (executed, event) in ended.flat_map(|e| e.events.iter().map(move |event| (e, event))) {
                let Event::Order(update) = event else { continue };
                let told = OrderView { update: *update, at: Some((executed.seq, released.ts)) };
                assert_eq!(view.orders().get(update.order), Some(told), "what safe mode ended is shown as its event has it");
            }
            let events = released.executed.iter().flat_map(|e| &e.events);
            fills += events.clone().filter(|event| matches!(event, Event::Fill(_))).count();
            incidents += events.filter(|event| matches!(event, Event::SafeModeEntered { .. })).count();
            open_max = open_max.max(view.orders().open_count());
            if step % 25 == 0 {
                assert_is_the_engine(&view, &story);
            }
        }
        assert_is_the_engine(&view, &story);
        assert!(
            fills > 200 && open_max > 20 && incidents > 5,
            "a dull story: {fills} fills, {open_max} open, {incidents} incidents"
        );
    }
}

#[test]
fn ended_orders_are_found_by_hash_and_by_client_id() {
    let mut story = Story::new(9);
    let mut view = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
    let opening = story.opening();
    view.apply(&story.execute(opening));
    let Command::Place(mut order) = story.place(account(1)) else { unreachable!("a place") };
    (order.market, order.side, order.price) = (MarketId(0), Side::Buy, Price(95 * UNIT));
    (order.time_in_force, order.client_id, order.size) = (TimeInForce::Gtc, 77, Qty(UNIT));
    view.apply(&story.execute(vec![Command::Place(order)]));
    let hash = order.signed.hash;
    assert_eq!(view.orders().get(hash).map(|o| o.update.state), Some(OrderState::Open));
    let levels = view.orders().book(MarketId(0)).expect("listed").levels(Side::Buy, 5);
    assert_eq!(
        levels.iter().map(|(price, level)| (price.0, level.size, level.orders)).collect::<Vec<_>>(),
        [(95 * UNIT, u128::from(UNIT), 1)]
    );

    let signed = story.signed(account(1));
    view.apply(&story.execute(vec![Command::Cancel(CancelOrder { signed, order: hash, client_id: 0 })]));
    let ended = view.orders().by_client_id(account(1), 77).expect("an ended order is remembered");
    assert_eq!(
        (ended.update.order, ended.update.state, ended.update.reason),
        (hash, OrderState::Cancelled, Reason::UserCancel)
    );
    assert!(ended.at.is_some());
    assert!(view.open_orders(account(1), None).is_empty());
    assert_eq!(view.orders().book(MarketId(0)).expect("listed").best(Side::Buy), None);
}

/// Orders with client id 77: one its owner cancelled, then one that each of two incidents cancelled, then a live one.
#[test]
fn a_client_id_names_the_last_order_that_bore_it_whatever_ended_it() {
    let mut story = Story::new(9);
    let mut view = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
    let opening = story.opening();
    view.apply(&story.execute(opening));
    let run = |view: &mut View, story: &mut Story, command| view.apply(&story.execute(vec![command]));
    let mut hashes = vec![];
    for n in 0..4 {
        let Command::Place(mut order) = story.place(account(1)) else { unreachable!("a place") };
        (order.market, order.side, order.price) = (MarketId(0), Side::Buy, Price(95 * UNIT));
        (order.time_in_force, order.client_id, order.size) = (TimeInForce::Gtc, 77, Qty(UNIT));
        (order.order_type, order.reduce_only, order.trigger_price) = (OrderType::Limit, false, Price(0));
        run(&mut view, &mut story, Command::Place(order));
        hashes.push(order.signed.hash);
        let live = view.orders().by_client_id(account(1), 77).expect("it rests").update;
        assert_eq!((live.order, live.state), (hashes[n], OrderState::Open));
        let incident = match n {
            0 => {
                let (signed, order) = (story.signed(account(1)), hashes[0]);
                run(&mut view, &mut story, Command::Cancel(CancelOrder { signed, order, client_id: 0 }));
                IncidentId(0)
            }
            3 => continue,
            _ => {
                let (incident, reasons) = (IncidentId(n as u32), LossReasons::of(LossReason::OracleStale));
                let observed_ts = view.at().ts;
                run(&mut view, &mut story, Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts }));
                for phase in [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open] {
                    let (post_only_until, integrity_report) = (Ts(0), Bytes32([1; 32]));
                    let step = SetPhase { incident, phase, post_only_until, integrity_report };
                    run(&mut view, &mut story, Command::SetPhase(step));
                }
                incident
            }
        };
        let ended = view.orders().by_client_id(account(1), 77).expect("it is remembered").update;
        assert_eq!((ended.order, ended.state, ended.incident), (hashes[n], OrderState::Cancelled, incident));
        assert!(view.open_orders(account(1), None).is_empty());
    }
    let incidents = hashes.iter().map(|hash| view.orders().get(*hash).expect("all are remembered").update.incident.0);
    assert_eq!(incidents.collect::<Vec<_>>(), [0, 1, 2, 0]);
}

#[test]
fn an_answer_comes_only_when_the_view_and_every_sink_have_its_record() {
    let mut story = Story::new(3);
    let published = Published::new(View::of_engine(Arc::new(story.genesis.clone()), &story.engine));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), story.genesis.hash()).expect("a new store");
    let (history, written) = start_history(HistoryWriter::new(store.clone()).expect("an empty history"));
    let (seen, records) = crossbeam_channel::unbounded();
    let watch = Box::new(move |released: &Arc<Released>| seen.send(released.last_seq()).is_ok());
    let (releaser, thread) = start_releaser(published.clone(), vec![history, watch]);

    assert_eq!(published.key(account(0)), None);
    let opening = story.opening();
    let released = Arc::new(story.execute(opening));
    let (reply, answer) = tokio::sync::oneshot::channel();
    assert!(releaser.send(released.clone(), vec![(0, reply)]));
    let answer = answer.blocking_recv().expect("an answer");
    assert_eq!(answer, Answer::Done { seq: Seq(1), ts: released.ts, events: released.executed[0].events.clone() });
    assert_eq!(published.at().seq, released.last_seq());
    assert_eq!(published.key(account(0)), Some(StarkKey(Felt::from(0x2000u64))));
    assert_eq!(records.try_recv(), Ok(released.last_seq()));

    drop(releaser);
    thread.join().expect("the releaser ends");
    written.join().expect("the history ends").expect("without an error");
    assert_eq!(store.history_seq().expect("readable"), released.last_seq());
    assert!(store.deposit(1).expect("readable").is_some());
}

#[test]
fn a_sink_that_is_gone_stops_releasing_and_answers_nobody() {
    let mut story = Story::new(4);
    let published = Published::new(View::of_engine(Arc::new(story.genesis.clone()), &story.engine));
    let (releaser, thread) = start_releaser(published, vec![Box::new(|_| false)]);
    let released = Arc::new(story.execute(vec![Command::Tick]));
    let (reply, answer) = tokio::sync::oneshot::channel();
    assert!(releaser.send(released.clone(), vec![(0, reply)]));
    assert!(answer.blocking_recv().is_err());
    thread.join().expect("the releaser ends");
    assert!(!releaser.send(released, vec![]));
}

#[test]
fn the_timeline_ends_at_the_phase_and_its_cancels_add_up_to_the_incidents() {
    let mut story = Story::new(5);
    let mut view = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
    let found = *view.timeline().steps().next().expect("never empty");
    assert_eq!((found.change, found.phase, found.incident), (PhaseChange::Found, Phase::Open, IncidentId(0)));
    let opening = story.opening();
    view.apply(&story.execute(opening));
    let (mut cancelled_max, mut relapses) = (0, 0);
    for _ in 0..1_500 {
        let command = story.command();
        let before = view.phase();
        view.apply(&story.execute(vec![command]));
        let (phase, steps) = (view.phase(), view.timeline().steps().copied().collect::<Vec<_>>());
        assert_eq!((steps[0].phase, steps[0].incident, steps[0].reasons), (phase.phase, phase.incident, phase.reasons));
        assert!(steps.windows(2).all(|pair| pair[0].seq > pair[1].seq && pair[0].ts >= pair[1].ts));
        assert!(steps.len() <= TIMELINE_STEPS_MAX);
        let cancelled: u32 = view.timeline().cancelled().values().sum();
        assert_eq!(cancelled, view.state().incidents.get(&phase.incident).map_or(0, |incident| incident.cancelled));
        cancelled_max = cancelled_max.max(cancelled);
        let reopening = !matches!(before.phase, Phase::Open | Phase::Halted);
        relapses += u32::from(reopening && phase.phase == Phase::Halted);
    }
    assert_eq!(view.timeline().steps().count(), TIMELINE_STEPS_MAX);
    assert!(cancelled_max > 3 && relapses > 0, "a dull story: {cancelled_max} cancelled, {relapses} relapses");
}
