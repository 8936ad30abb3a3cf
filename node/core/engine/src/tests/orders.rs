//! Fill or kill, good til, modify, dead man's switch.

use super::check;
use expect_test::expect;

#[test]
fn a_fok_trades_its_whole_size_or_nothing_happens() {
    check(
        "a sell 1 @ 100 | b sell 1 @ 101 | c buy 2 @ 100.5 fok | c buy 3 @ 101 fok | show spot | show c
         c buy 2 @ 101 fok | c buy 1 @ market fok | show c",
        expect![[r#"
            #1 a sell 1 @ 100 OPEN
            #2 b sell 1 @ 101 OPEN
            #3 c buy 2 @ 100.5 CANCELLED FILL_OR_KILL by ENGINE
            #4 c buy 3 @ 101 CANCELLED FILL_OR_KILL by ENGINE
            #5 bids [] asks [1@100 1@101]
            #6 c 10000 USDC 100 ETH
            #7 fill 1 1 @ 100: maker a fee 0.01, taker c fee 0.05
            #7 a sell 1 @ 100 FILLED
            #7 fill 2 1 @ 101: maker b fee 0.0101, taker c fee 0.0505
            #7 b sell 1 @ 101 FILLED
            #7 c buy 2 @ 101 FILLED
            #8 c buy 1 @ 110 CANCELLED FILL_OR_KILL by ENGINE
            #9 c 9798.8995 USDC 102 ETH"#]],
    );
}

#[test]
fn a_fok_counts_only_what_it_could_really_trade() {
    // Own orders, a reduce-only maker that stops at flat, a maker below its margin, more fills than one command may make.
    check(
        "c sell 1 @ 100 | a sell 2 @ 100 | c buy 2 @ 100 fok | c buy 2 @ 100 fok stp=maker | show spot
         a sell 1 @ 100 | a sell 1 @ 100 | a sell 1 @ 100 | a sell 1 @ 100 | b buy 4 @ 100 fok | show spot | b buy 3 @ 100 fok
         a buy 2 @ 100 perp | b sell 2 @ 100 perp | a sell 2 @ 101 perp ro | d buy 1 @ 101 perp | c buy 2 @ 101 perp fok | c buy 1 @ 101 perp fok",
        expect![[r#"
            #1 c sell 1 @ 100 OPEN
            #2 a sell 2 @ 100 OPEN
            #3 c buy 2 @ 100 CANCELLED FILL_OR_KILL by ENGINE
            #4 c sell 1 @ 100 CANCELLED SELF_TRADE by ENGINE
            #4 c buy 2 @ 100 RECEIVED SELF_TRADE by ENGINE
            #4 fill 1 2 @ 100: maker a fee 0.02, taker c fee 0.1
            #4 a sell 2 @ 100 FILLED
            #4 c buy 2 @ 100 FILLED
            #5 bids [] asks []
            #6 a sell 1 @ 100 OPEN
            #7 a sell 1 @ 100 OPEN
            #8 a sell 1 @ 100 OPEN
            #9 a sell 1 @ 100 OPEN
            #10 b buy 4 @ 100 CANCELLED FILL_OR_KILL by ENGINE
            #11 bids [] asks [1@100 1@100 1@100 1@100]
            #12 fill 2 1 @ 100: maker a fee 0.01, taker b fee 0.05
            #12 a sell 1 @ 100 FILLED
            #12 fill 3 1 @ 100: maker a fee 0.01, taker b fee 0.05
            #12 a sell 1 @ 100 FILLED
            #12 fill 4 1 @ 100: maker a fee 0.01, taker b fee 0.05
            #12 a sell 1 @ 100 FILLED
            #12 b buy 3 @ 100 FILLED
            #13 a buy 2 @ 100 perp OPEN
            #14 fill 1 2 @ 100: maker a fee 0.04, taker b fee 0.1
            #14 a buy 2 @ 100 perp FILLED
            #14 b sell 2 @ 100 perp FILLED
            #15 a sell 2 @ 101 perp OPEN
            #16 fill 2 1 @ 101: maker a fee 0.0202 pnl 1, taker d fee 0.0505
            #16 a sell 2 @ 101 perp PARTIALLY_FILLED 1/2
            #16 d buy 1 @ 101 perp FILLED
            #17 c buy 2 @ 101 perp CANCELLED FILL_OR_KILL by ENGINE
            #18 fill 3 1 @ 101: maker a fee 0.0202 pnl 1, taker c fee 0.0505
            #18 a sell 2 @ 101 perp FILLED
            #18 c buy 1 @ 101 perp FILLED"#]],
    );
}

#[test]
fn a_fok_beyond_its_margin_is_rejected_and_one_that_cannot_fill_is_cancelled() {
    check(
        "a buy 400 @ 100 perp | b buy 300 @ 100 perp | c sell 1000 @ 100 perp fok | c sell 700 @ 100 perp fok | d sell 400 @ 100 perp fok | show perp",
        expect![[r#"
            #1 a buy 400 @ 100 perp OPEN
            #2 b buy 300 @ 100 perp OPEN
            #3 c sell 1000 @ 100 perp CANCELLED FILL_OR_KILL by ENGINE
            #4 c rejected: OPEN_INTEREST_CAP
            #5 fill 1 400 @ 100: maker a fee 8, taker d fee 20
            #5 a buy 400 @ 100 perp FILLED
            #5 d sell 400 @ 100 perp FILLED
            #6 bids [300@100] asks []"#]],
    );
}

#[test]
fn an_order_good_til_ends_then_and_never_trades_after() {
    // The seller comes after the end and before any tick; a post-only order is not kept out by it either.
    check(
        "a buy 1 @ 99 gtt=5s | b buy 2 @ 99 | c buy 1 @ 98 gtt=5s | wait 4s | d sell 1 @ 99 | show spot | a buy 1 @ 99 gtt=1s
         wait 1s | d sell 3 @ 99 | show spot | tick | show spot | tick
         d cancel all | a sell 1 @ 101 gtt=1s | a sell 1 @ 102 | wait 1s | b buy 1 @ 101 post | show spot | tick | show a",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 b buy 2 @ 99 OPEN
            #3 c buy 1 @ 98 OPEN
            #5 fill 1 1 @ 99: maker a fee 0.0099, taker d fee 0.0495
            #5 a buy 1 @ 99 FILLED
            #5 d sell 1 @ 99 FILLED
            #6 bids [2@99 1@98] asks []
            #7 a buy 1 @ 99 OPEN
            #9 fill 2 2 @ 99: maker b fee 0.0198, taker d fee 0.099
            #9 b buy 2 @ 99 FILLED
            #9 a buy 1 @ 99 EXPIRED GOOD_TIL by ENGINE
            #9 d sell 3 @ 99 PARTIALLY_FILLED 2/3
            #10 bids [1@98] asks [1@99]
            #11 c buy 1 @ 98 EXPIRED GOOD_TIL by ENGINE
            #12 bids [] asks [1@99]
            #13 funding of 1 at 10000, index 0
            #13 funding of 2 at 10000, index 0
            #14 d sell 3 @ 99 CANCELLED 2/3 USER_CANCEL_ALL by USER
            #14 d cancelled 1
            #15 a sell 1 @ 101 OPEN
            #16 a sell 1 @ 102 OPEN
            #18 a sell 1 @ 101 EXPIRED GOOD_TIL by ENGINE
            #18 b buy 1 @ 101 OPEN
            #19 bids [1@101] asks [1@102]
            #21 a 9900.9901 USDC 101 ETH (1 reserved)"#]],
    );
}

#[test]
fn good_til_is_in_the_future_and_only_for_gtt() {
    check(
        "a buy 1 @ 99 gtt | a buy 1 @ 99 gtt=0s | a buy 1 @ 99 gtt=7776000s | a buy 1 @ 99 gtt=7776000.001s | a buy 1 @ 99 until=5s
         a buy 1 @ 99 ioc until=5s | a buy 1 @ market gtt=5s | a buy 1 @ market 99 stop=101 gtt=5s",
        expect![[r#"
            #1 a rejected: BAD_GOOD_TIL
            #2 a rejected: BAD_GOOD_TIL
            #3 a buy 1 @ 99 OPEN
            #4 a rejected: BAD_GOOD_TIL
            #5 a rejected: INCONSISTENT_FIELDS
            #6 a rejected: INCONSISTENT_FIELDS
            #7 a rejected: INCONSISTENT_FIELDS
            #8 a buy 1 @ 99 UNTRIGGERED"#]],
    );
}

#[test]
fn one_tick_ends_a_hundred_orders_and_the_next_goes_on() {
    use super::world::{SPOT, UNIT, World, genesis};
    use keel_types::*;
    let mut rules = genesis();
    rules.limits.orders_per_account_market = 1_000;
    let mut world = World::funded(rules);
    let mut placed = Vec::new();
    for n in 0..250u64 {
        let mut order = world.order('a', SPOT, Side::Buy, Qty(UNIT / 10), Price(50 * UNIT));
        order.time_in_force = TimeInForce::Gtt;
        // Later orders end earlier, some at the same time.
        order.good_til = world.now.plus_ms(4_000 - n / 5 * 5);
        placed.push((order.good_til, n, order.signed.hash));
        world.apply_fast(Command::Place(order));
    }
    placed.sort_unstable();
    assert!(!world.engine.due(world.now.plus_ms(3_000)));
    world.now = world.now.plus_ms(4_000);
    let mut ended = Vec::new();
    for expected in [100, 100, 50] {
        assert!(world.engine.due(world.now));
        let events = world.apply_fast(Command::Tick);
        assert_eq!(events.len(), expected);
        ended.extend(events.into_iter().map(|event| match event {
            Event::Order(OrderUpdate { state: OrderState::Expired, reason: Reason::GoodTil, order, .. }) => order,
            other => panic!("{other:?}"),
        }));
    }
    assert!(!world.engine.due(world.now));
    assert_eq!(ended, placed.into_iter().map(|(.., hash)| hash).collect::<Vec<_>>(), "by (good til, seq)");
    world.check_history();
}

#[test]
fn less_size_at_the_same_price_keeps_the_place_and_anything_else_gives_it_up() {
    check(
        "a buy 3 @ 99 | b buy 3 @ 99 | a modify 1 2 @ 99 | show a | c sell 1 @ 99 | a modify 1 1.5 @ 99 | b modify 2 4 @ 99 | c sell 1 @ 99 | show spot
         a modify 1 2.5 @ 99 | c sell 1 @ 99 | show spot | show a | show b",
        expect![[r#"
            #1 a buy 3 @ 99 OPEN
            #2 b buy 3 @ 99 OPEN
            #3 a buy 2 @ 99 OPEN MODIFIED by USER
            #4 a 10000 USDC (198.099 reserved) 100 ETH
            #5 fill 1 1 @ 99: maker a fee 0.0099, taker c fee 0.0495
            #5 a buy 2 @ 99 PARTIALLY_FILLED 1/2
            #5 c sell 1 @ 99 FILLED
            #6 a buy 1.5 @ 99 PARTIALLY_FILLED 1/1.5 MODIFIED by USER
            #7 b buy 4 @ 99 OPEN MODIFIED by USER
            #8 fill 2 0.5 @ 99: maker a fee 0.00495, taker c fee 0.02475
            #8 a buy 1.5 @ 99 FILLED
            #8 fill 3 0.5 @ 99: maker b fee 0.00495, taker c fee 0.02475
            #8 b buy 4 @ 99 PARTIALLY_FILLED 0.5/4
            #8 c sell 1 @ 99 FILLED
            #9 bids [3.5@99] asks []
            #10 a rejected: ORDER_NOT_OPEN
            #11 fill 4 1 @ 99: maker b fee 0.0099, taker c fee 0.0495
            #11 b buy 4 @ 99 PARTIALLY_FILLED 1.5/4
            #11 c sell 1 @ 99 FILLED
            #12 bids [2.5@99] asks []
            #13 a 9851.48515 USDC 101.5 ETH
            #14 b 9851.48515 USDC (247.62375 reserved) 101.5 ETH"#]],
    );
}

#[test]
fn a_modified_order_trades_like_a_new_one_of_what_is_left() {
    check(
        "a buy 3 @ 98 | b sell 1 @ 98 | b sell 1 @ 101 | c sell 5 @ 102 | a modify 1 5 @ 101 | show spot | a modify 1 5 @ 102 | show spot
         a cancel 1 | show a | a modify 1 6 @ 99 | a modify 99 6 @ 99",
        expect![[r#"
            #1 a buy 3 @ 98 OPEN
            #2 fill 1 1 @ 98: maker a fee 0.0098, taker b fee 0.049
            #2 a buy 3 @ 98 PARTIALLY_FILLED 1/3
            #2 b sell 1 @ 98 FILLED
            #3 b sell 1 @ 101 OPEN
            #4 c sell 5 @ 102 OPEN
            #5 a buy 5 @ 101 RECEIVED 1/5 MODIFIED by USER
            #5 fill 2 1 @ 101: maker b fee 0.0101, taker a fee 0.0505
            #5 b sell 1 @ 101 FILLED
            #5 a buy 5 @ 101 PARTIALLY_FILLED 2/5
            #6 bids [3@101] asks [5@102]
            #7 a buy 5 @ 102 RECEIVED 2/5 MODIFIED by USER
            #7 fill 3 3 @ 102: maker c fee 0.0306, taker a fee 0.153
            #7 c sell 5 @ 102 PARTIALLY_FILLED 3/5
            #7 a buy 5 @ 102 FILLED
            #8 bids [] asks [2@102]
            #9 a rejected: ORDER_NOT_OPEN
            #10 a 9494.7867 USDC 105 ETH
            #11 a rejected: ORDER_NOT_OPEN
            #12 a rejected: UNKNOWN_ORDER"#]],
    );
}

#[test]
fn a_refused_modify_leaves_the_order_as_it_was() {
    check(
        "a buy 3 @ 98 | b sell 1 @ 98 | c sell 5 @ 101 | a modify 1 3 @ 98 | a modify 1 1 @ 98 | a modify 1 0 @ 98 | a modify 1 3 @ 98.001
         a modify 1 3.0001 @ 98 | a modify 1 3 @ 0 | a modify 1 1000 @ 98 | b modify 1 2 @ 98 | show a | show spot
         d buy 1 @ 97 post | d modify 14 2 @ 101 | d modify 14 2 @ 100 | a modify 1 2 @ 98 | show spot",
        expect![[r#"
            #1 a buy 3 @ 98 OPEN
            #2 fill 1 1 @ 98: maker a fee 0.0098, taker b fee 0.049
            #2 a buy 3 @ 98 PARTIALLY_FILLED 1/3
            #2 b sell 1 @ 98 FILLED
            #3 c sell 5 @ 101 OPEN
            #4 a rejected: NOTHING_TO_MODIFY
            #5 a rejected: SIZE_BELOW_FILLED
            #6 a rejected: SIZE_ZERO
            #7 a rejected: OFF_TICK
            #8 a rejected: OFF_LOT
            #9 a rejected: PRICE_REQUIRED
            #10 a rejected: INSUFFICIENT_BALANCE
            #11 b rejected: UNKNOWN_ORDER
            #12 a 9901.9902 USDC (196.098 reserved) 101 ETH
            #13 bids [2@98] asks [5@101]
            #14 d buy 1 @ 97 OPEN
            #15 d rejected: POST_ONLY_WOULD_CROSS
            #16 d buy 2 @ 100 OPEN MODIFIED by USER
            #17 a buy 2 @ 98 PARTIALLY_FILLED 1/2 MODIFIED by USER
            #18 bids [2@100 1@98] asks [5@101]"#]],
    );
}

#[test]
fn a_modify_counts_its_margin_in_place_of_the_old_order() {
    // 10,000 USDC: at 10% and 0.05% fee, 990 is close to all. Once more of it, or elsewhere, only if the old one does not count too.
    check(
        "a buy 990 @ 100 perp | a modify 1 995 @ 100 | a modify 1 994 @ 99 | a modify 1 1000 @ 99 | show a
         b sell 100 @ 99 perp | show a | a sell 100 @ 105 perp ro | a modify 8 90 @ 104 | a modify 8 101 @ 104 | a modify 1 100 @ 99 | a cancel 1",
        expect![[r#"
            #1 a buy 990 @ 100 perp OPEN
            #2 a buy 995 @ 100 perp OPEN MODIFIED by USER
            #3 a buy 994 @ 99 perp OPEN MODIFIED by USER
            #4 a rejected: INSUFFICIENT_MARGIN
            #5 a 10000 USDC 100 ETH; AV 10000 IMR 9989.7 MMR 0
            #6 fill 1 100 @ 99: maker a fee 1.98, taker b fee 4.95
            #6 a buy 994 @ 99 perp PARTIALLY_FILLED 100/994
            #6 b sell 100 @ 99 perp FILLED
            #7 a 9998.02 USDC 100 ETH; perp 100 cost 9900; AV 10098.02 IMR 9989.7 MMR 505
            #8 a sell 100 @ 105 perp OPEN
            #9 a sell 90 @ 104 perp OPEN MODIFIED by USER
            #10 a rejected: REDUCE_ONLY_WOULD_INCREASE
            #11 a rejected: SIZE_BELOW_FILLED
            #12 a buy 994 @ 99 perp CANCELLED 100/994 USER_CANCEL by USER
            #12 a cancelled 1"#]],
    );
}

#[test]
fn a_position_below_its_margin_may_still_modify_what_reduces_it() {
    check(
        "a buy 300 @ 100 perp | b sell 300 @ 100 perp | a withdraw 6900 USDC | price perp 98 | a sell 300 @ 99 perp | show a
         price perp 97 | show a | a modify 5 300 @ 96 | a modify 5 301 @ 98 | a modify 5 301 @ 96 | a buy 1 @ 90 perp",
        expect![[r#"
            #1 a buy 300 @ 100 perp OPEN
            #2 fill 1 300 @ 100: maker a fee 6, taker b fee 15
            #2 a buy 300 @ 100 perp FILLED
            #2 b sell 300 @ 100 perp FILLED
            #3 a withdrew 6900 as 6900000000 units, id 1
            #4 price of 1 98
            #5 a sell 300 @ 99 perp OPEN
            #6 a 3094 USDC 100 ETH; perp 300 cost 30000; AV 2494 IMR 2954.7 MMR 1484.7
            #7 price of 1 97
            #8 a 3094 USDC 100 ETH; perp 300 cost 30000; AV 2194 IMR 2924.55 MMR 1469.55
            #9 a sell 300 @ 96 perp OPEN MODIFIED by USER
            #10 a sell 301 @ 98 perp OPEN MODIFIED by USER
            #11 a rejected: INSUFFICIENT_MARGIN
            #12 a rejected: INSUFFICIENT_MARGIN"#]],
    );
}

#[test]
fn a_modify_may_end_in_self_trade_prevention_or_at_the_band() {
    check(
        "a sell 1 @ 101 | a buy 2 @ 99 | a modify 2 2 @ 101 | show spot | a cancel 1 | a buy 2 @ 99 | b sell 1 @ 109 | b sell 1 @ 111 | a modify 6 2 @ 112 | show spot | show a",
        expect![[r#"
            #1 a sell 1 @ 101 OPEN
            #2 a buy 2 @ 99 OPEN
            #3 a buy 2 @ 101 RECEIVED MODIFIED by USER
            #3 a sell 1 @ 101 OPEN SELF_TRADE by ENGINE
            #3 a buy 2 @ 101 CANCELLED SELF_TRADE by ENGINE
            #4 bids [] asks [1@101]
            #5 a sell 1 @ 101 CANCELLED USER_CANCEL by USER
            #5 a cancelled 1
            #6 a buy 2 @ 99 OPEN
            #7 b sell 1 @ 109 OPEN
            #8 b sell 1 @ 111 OPEN
            #9 a buy 2 @ 112 RECEIVED MODIFIED by USER
            #9 fill 1 1 @ 109: maker b fee 0.0109, taker a fee 0.0545
            #9 b sell 1 @ 109 FILLED
            #9 a buy 2 @ 112 CANCELLED 1/2 PRICE_BAND by ENGINE
            #10 bids [] asks [1@111]
            #11 a 9890.9455 USDC 101 ETH"#]],
    );
}

#[test]
fn a_dead_mans_switch_cancels_everything_unless_it_is_moved() {
    check(
        "a buy 1 @ 99 | a sell 1 @ 100 perp | a sell 1 @ market perp stop=90 | b buy 1 @ 99 | a schedule 0.999s | a schedule 5s | wait 4s | tick
         a schedule 2s | wait 1s | tick | wait 1s | tick | show spot | tick | a buy 1 @ 99 | wait 9s | tick | show spot
         a schedule 1s | a schedule off | wait 2s | tick | show spot",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a sell 1 @ 100 perp OPEN
            #3 a sell 1 @ 0 perp UNTRIGGERED
            #4 b buy 1 @ 99 OPEN
            #5 a rejected: SCHEDULE_TOO_SOON
            #6 a cancels all at +5000 ms
            #9 a cancels all at +6000 ms
            #11 funding of 1 at 10000, index 0
            #11 funding of 2 at 10000, index 0
            #13 a buy 1 @ 99 CANCELLED SCHEDULED_CANCEL by ENGINE
            #13 a sell 1 @ 0 perp CANCELLED SCHEDULED_CANCEL by ENGINE
            #13 a sell 1 @ 100 perp CANCELLED SCHEDULED_CANCEL by ENGINE
            #13 a cancels all: off
            #14 bids [1@99] asks []
            #16 a buy 1 @ 99 OPEN
            #19 bids [1@99 1@99] asks []
            #20 a cancels all at +16000 ms
            #21 a cancels all: off
            #24 bids [1@99 1@99] asks []"#]],
    );
}

#[test]
fn safe_mode_clears_every_dead_mans_switch_and_it_may_be_set_in_any_phase() {
    check(
        "a schedule 5s | b schedule 6s | halt OPERATOR | wait 7s | tick | a schedule 2s | wait 2s | tick",
        expect![[r#"
            #1 a cancels all at +5000 ms
            #2 b cancels all at +6000 ms
            #3 safe mode 1 OPERATOR cancelled 0
            #3 OPEN -> HALTED
            #6 a cancels all at +9000 ms
            #8 a cancels all: off"#]],
    );
}

#[test]
fn a_dead_mans_switch_counts_among_the_cancels() {
    use super::script::check_in;
    use super::world::{World, genesis};
    let mut rules = genesis();
    rules.limits.nonces_per_account = 2;
    check_in(
        World::funded(rules),
        "a buy 1 @ 99 | a buy 1 @ 99 | a schedule 5s | a schedule 6s | a schedule 7s | a cancel 1",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a rejected: NONCE_WINDOW_FULL, nonce kept
            #3 a cancels all at +5000 ms
            #4 a cancels all at +6000 ms
            #5 a rejected: NONCE_WINDOW_FULL, nonce kept
            #6 a rejected: NONCE_WINDOW_FULL, nonce kept"#]],
    );
}

#[test]
fn cancels_of_a_logged_in_connection_need_no_nonce() {
    check(
        "a login | a again | a buy 1 @ 99 | a buy 1 @ 98 perp | a buy 1 @ 97 | a ws cancel 3 | a ws cancel 3 | b ws cancel 5 | a ws cancel all perp
         a buy 1 @ 96 | a sell 1 @ market stop=90 | a lost | a lost | z lost | halt OPERATOR | a ws cancel all | a login",
        expect![[r#"
            #1 a session opened
            #2 a replayed: SessionOpened
            #3 a buy 1 @ 99 OPEN
            #4 a buy 1 @ 98 perp OPEN
            #5 a buy 1 @ 97 OPEN
            #6 a buy 1 @ 99 CANCELLED USER_CANCEL by USER
            #6 a cancelled 1
            #7 a rejected: ORDER_NOT_OPEN, nonce kept
            #8 b rejected: UNKNOWN_ORDER, nonce kept
            #9 a buy 1 @ 98 perp CANCELLED USER_CANCEL_ALL by USER
            #9 a cancelled 1
            #10 a buy 1 @ 96 OPEN
            #11 a sell 1 @ 0 UNTRIGGERED
            #12 a buy 1 @ 96 CANCELLED DISCONNECTED by USER
            #12 a buy 1 @ 97 CANCELLED DISCONNECTED by USER
            #12 a sell 1 @ 0 CANCELLED DISCONNECTED by USER
            #12 a cancelled 3
            #13 a cancelled 0
            #14 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #15 safe mode 1 OPERATOR cancelled 0
            #15 OPEN -> HALTED
            #16 a cancelled 0
            #17 a session opened"#]],
    );
}

#[test]
fn the_largest_numbers_there_are_make_a_rejected_order_or_modify() {
    use super::world::{SPOT, UNIT, World, genesis};
    use keel_types::*;
    for (price, size, reject) in [
        (u64::MAX, u64::MAX, Reject::OffLot),
        (u64::MAX - u64::MAX % UNIT, u64::MAX - u64::MAX % UNIT, Reject::SizeTooLarge),
        (u64::MAX - u64::MAX % UNIT, UNIT, Reject::PriceOutOfRange),
    ] {
        let mut world = World::funded(genesis());
        let resting = world.order('a', SPOT, Side::Buy, Qty(UNIT), Price(99 * UNIT));
        world.apply(Command::Place(resting));
        let order = world.order('a', SPOT, Side::Buy, Qty(size), Price(price));
        let (signed, order_to_modify) = (world.sign('a'), resting.signed.hash);
        let modify = ModifyOrder { signed, order: order_to_modify, price: Price(price), size: Qty(size) };
        for command in [Command::Place(order), Command::Modify(modify)] {
            let events = world.apply(command.clone());
            assert!(matches!(events[..], [Event::Rejected { reject: r, .. }] if r == reject), "{events:?} of {command:?}");
        }
    }
}
