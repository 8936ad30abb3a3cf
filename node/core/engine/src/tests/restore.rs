//! What an incident cancelled is placed again. [spec safe-mode, Restoring orders]

use super::check;
use super::world::{SPOT, UNIT, World, genesis};
use crate::Engine;
use expect_test::expect;
use keel_types::*;

#[test]
fn a_partly_filled_order_comes_back_with_what_was_left_once_and_can_be_cancelled() {
    check(
        "a buy 3 @ 99 cid=7 | b sell 1 @ 99 | halt OPERATOR | a restore 1 1 | phase READ_ONLY | a restore 1 1 | phase SPOT 5s | a restore 1 1
         wait 5s | a restore 1 1 | show spot | show a | a restore 1 1 | a again | a cancel 1 | a cancel 10:1 | show a | a restore 1 10:1",
        expect![[r#"
            #1 a buy 3 @ 99 OPEN
            #2 fill 1 1 @ 99: maker a fee 0.0099, taker b fee 0.0495
            #2 a buy 3 @ 99 PARTIALLY_FILLED 1/3
            #2 b sell 1 @ 99 FILLED
            #3 a buy 3 @ 99 CANCELLED 1/3 SAFE_MODE by SAFE_MODE incident 1
            #3 safe mode 1 OPERATOR cancelled 1
            #3 OPEN -> HALTED
            #4 a rejected: PHASE_FORBIDS
            #5 HALTED -> READ_ONLY
            #6 a rejected: PHASE_FORBIDS
            #7 READ_ONLY -> SPOT
            #8 a cannot restore: PHASE_FORBIDS
            #10 a restores, of incident 1:
            #10 a buy 2 @ 99 OPEN
            #11 bids [2@99] asks []
            #12 a 9900.9901 USDC (198.099 reserved) 101 ETH
            #13 a cannot restore: NOT_RESTORABLE
            #14 a replayed: Restored { restored: 0, refused: 1 }
            #15 a rejected: ORDER_NOT_OPEN
            #16 a buy 2 @ 99 CANCELLED USER_CANCEL by USER
            #16 a cancelled 1
            #17 a 9900.9901 USDC 101 ETH
            #18 a cannot restore: NOT_RESTORABLE"#]],
    );
}

#[test]
fn each_order_is_looked_at_alone_and_a_refused_one_may_be_tried_again() {
    check(
        "a buy 50 @ 99 | a buy 40 @ 98 | a sell 5 @ 101 cid=4 | a buy 1 @ 97 post | halt OPERATOR | phase READ_ONLY | phase SPOT
         a withdraw 5000 USDC | b sell 1 @ 96.5 | a sell 1 @ 103 cid=4 | a restore 1 1,2,3,4,99 | show spot | show a
         a deposit 5000 USDC | a cancel cid 4 | b cancel 9 | a restore 1 1,2,3,4 | show spot | a restore 1 1,2,3,4",
        expect![[r#"
            #1 a buy 50 @ 99 OPEN
            #2 a buy 40 @ 98 OPEN
            #3 a sell 5 @ 101 OPEN
            #4 a buy 1 @ 97 OPEN
            #5 a buy 1 @ 97 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 40 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 50 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a sell 5 @ 101 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 safe mode 1 OPERATOR cancelled 4
            #5 OPEN -> HALTED
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #8 a withdrew 5000 as 5000000000 units, id 1
            #9 b sell 1 @ 96.5 OPEN
            #10 a sell 1 @ 103 OPEN
            #11 a restores, of incident 1:
            #11 fill 1 1 @ 96.5: maker b fee 0.00965, taker a fee 0.04825
            #11 b sell 1 @ 96.5 FILLED
            #11 a buy 50 @ 99 PARTIALLY_FILLED 1/50
            #11 a cannot restore: INSUFFICIENT_BALANCE
            #11 a cannot restore: DUPLICATE_CLIENT_ID
            #11 a cannot restore: INSUFFICIENT_BALANCE
            #11 a cannot restore: NOT_RESTORABLE
            #12 bids [49@99] asks [1@103]
            #13 a 4903.45175 USDC (4853.4255 reserved) 101 ETH (1 reserved)
            #14 a credited 5000
            #15 a sell 1 @ 103 CANCELLED USER_CANCEL by USER
            #15 a cancelled 1
            #16 b rejected: ORDER_NOT_OPEN
            #17 a cannot restore: NOT_RESTORABLE
            #17 a restores, of incident 1:
            #17 a buy 40 @ 98 OPEN
            #17 a restores, of incident 1:
            #17 a sell 5 @ 101 OPEN
            #17 a restores, of incident 1:
            #17 a buy 1 @ 97 OPEN
            #18 bids [49@99 40@98 1@97] asks [5@101]
            #19 a cannot restore: NOT_RESTORABLE
            #19 a cannot restore: NOT_RESTORABLE
            #19 a cannot restore: NOT_RESTORABLE
            #19 a cannot restore: NOT_RESTORABLE"#]],
    );
}

#[test]
fn conditional_orders_return_untriggered_and_fire_when_the_mark_gets_there() {
    check(
        "a buy 5 @ 100 perp | b sell 5 @ 100 perp | a sell 5 @ 90 perp ro stop=95 | a sell 2 @ market perp tp=105 | b buy 1 @ 99 spot stop=104
         price perp 94 | c sell 1 @ 120 perp stop=99
         halt OPERATOR | phase READ_ONLY | phase SPOT | a restore 1 3,4 | b restore 1 5 | phase REDUCE_ONLY | a restore 1 3,4
         phase OPEN | a restore 1 4 | c restore 1 7 | show perp | wait 120s | price perp 95 | due | show a",
        expect![[r#"
            #1 a buy 5 @ 100 perp OPEN
            #2 fill 1 5 @ 100: maker a fee 0.1, taker b fee 0.25
            #2 a buy 5 @ 100 perp FILLED
            #2 b sell 5 @ 100 perp FILLED
            #3 a sell 5 @ 90 perp UNTRIGGERED
            #4 a sell 2 @ 0 perp UNTRIGGERED
            #5 b buy 1 @ 99 UNTRIGGERED
            #6 held 1 at 94
            #7 c sell 1 @ 120 perp UNTRIGGERED
            #8 b buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a sell 2 @ 0 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a sell 5 @ 90 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 c sell 1 @ 120 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 safe mode 1 OPERATOR cancelled 4
            #8 OPEN -> HALTED
            #9 HALTED -> READ_ONLY
            #10 READ_ONLY -> SPOT
            #11 a cannot restore: PHASE_FORBIDS
            #11 a cannot restore: PHASE_FORBIDS
            #12 b restores, of incident 1:
            #12 b buy 1 @ 99 UNTRIGGERED
            #13 SPOT -> REDUCE_ONLY
            #14 a restores, of incident 1:
            #14 a sell 5 @ 90 perp UNTRIGGERED
            #14 a cannot restore: PHASE_FORBIDS
            #15 REDUCE_ONLY -> OPEN
            #16 a restores, of incident 1:
            #16 a sell 2 @ 0 perp UNTRIGGERED
            #17 c restores, of incident 1:
            #17 c sell 1 @ 120 perp UNTRIGGERED
            #18 bids [] asks []
            #20 price of 1 95
            #21 a sell 5 @ 90 perp TRIGGERED TRIGGERED by ENGINE
            #21 a sell 5 @ 90 perp OPEN
            #21 c sell 1 @ 120 perp TRIGGERED TRIGGERED by ENGINE
            #21 c sell 1 @ 120 perp OPEN
            #22 a 9999.9 USDC 100 ETH; perp 5 cost 500; AV 9974.9 IMR 72.7375 MMR 23.9875"#]],
    );
}

#[test]
fn what_the_phase_forbids_stays_cancelled_until_it_allows_it() {
    check(
        "a buy 1 @ 99.8 perp post | a buy 1 @ 95 perp post | a buy 1 @ 99 perp | a buy 1 @ 99 | a buy 1 @ 98 post
         halt OPERATOR | phase READ_ONLY | phase SPOT 5s | a restore 1 1,2,3,4,5 | wait 5s | a restore 1 1,2,3,4
         phase REDUCE_ONLY | a restore 1 1,2,3 | phase OPEN | a restore 1 2,3 | a restore 1 1 | show perp | show spot",
        expect![[r#"
            #1 a buy 1 @ 99.8 perp OPEN
            #2 a buy 1 @ 95 perp OPEN
            #3 a buy 1 @ 99 perp OPEN
            #4 a buy 1 @ 99 OPEN
            #5 a buy 1 @ 98 OPEN
            #6 a buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #6 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #6 a buy 1 @ 95 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #6 a buy 1 @ 99 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #6 a buy 1 @ 99.8 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #6 safe mode 1 OPERATOR cancelled 5
            #6 OPEN -> HALTED
            #7 HALTED -> READ_ONLY
            #8 READ_ONLY -> SPOT
            #9 a cannot restore: PHASE_FORBIDS
            #9 a cannot restore: PHASE_FORBIDS
            #9 a cannot restore: PHASE_FORBIDS
            #9 a cannot restore: PHASE_FORBIDS
            #9 a restores, of incident 1:
            #9 a buy 1 @ 98 OPEN
            #11 a cannot restore: PHASE_FORBIDS
            #11 a cannot restore: PHASE_FORBIDS
            #11 a cannot restore: PHASE_FORBIDS
            #11 a restores, of incident 1:
            #11 a buy 1 @ 99 OPEN
            #12 SPOT -> REDUCE_ONLY
            #13 a restores, of incident 1:
            #13 a buy 1 @ 99.8 perp OPEN
            #13 a cannot restore: PHASE_FORBIDS
            #13 a cannot restore: PHASE_FORBIDS
            #14 REDUCE_ONLY -> OPEN
            #15 a restores, of incident 1:
            #15 a buy 1 @ 95 perp OPEN
            #15 a restores, of incident 1:
            #15 a buy 1 @ 99 perp OPEN
            #16 a cannot restore: NOT_RESTORABLE
            #17 bids [1@99.8 1@99 1@95] asks []
            #18 bids [1@99 1@98] asks []"#]],
    );
}

#[test]
fn an_order_without_margin_is_refused_and_the_others_are_placed() {
    check(
        "a buy 400 @ 99 perp | a buy 5 @ 98 perp | a sell 100 @ 110 perp | halt OPERATOR | phase READ_ONLY | phase SPOT | a withdraw 9000 USDC
         phase REDUCE_ONLY | phase OPEN | a restore 1 1,2,3 | show perp | show a | a deposit 9000 USDC | a restore 1 1,3 | show a",
        expect![[r#"
            #1 a buy 400 @ 99 perp OPEN
            #2 a buy 5 @ 98 perp OPEN
            #3 a sell 100 @ 110 perp OPEN
            #4 a buy 5 @ 98 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a buy 400 @ 99 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a sell 100 @ 110 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 safe mode 1 OPERATOR cancelled 3
            #4 OPEN -> HALTED
            #5 HALTED -> READ_ONLY
            #6 READ_ONLY -> SPOT
            #7 a withdrew 9000 as 9000000000 units, id 1
            #8 SPOT -> REDUCE_ONLY
            #9 REDUCE_ONLY -> OPEN
            #10 a cannot restore: INSUFFICIENT_MARGIN
            #10 a restores, of incident 1:
            #10 a buy 5 @ 98 perp OPEN
            #10 a cannot restore: INSUFFICIENT_MARGIN
            #11 bids [5@98] asks []
            #12 a 1000 USDC 100 ETH; AV 1000 IMR 50.25 MMR 0
            #13 a credited 9000
            #14 a restores, of incident 1:
            #14 a buy 400 @ 99 perp OPEN
            #14 a restores, of incident 1:
            #14 a sell 100 @ 110 perp OPEN
            #15 a 10000 USDC 100 ETH; AV 10000 IMR 4070.25 MMR 0"#]],
    );
}

#[test]
fn nobody_restores_orders_of_another_account_or_incident() {
    check(
        "a buy 1 @ 99 | b buy 1 @ 98 | halt OPERATOR | phase READ_ONLY | phase SPOT | b restore 1 1,2 | a restore 2 1 | a restore 0 1 | z restore 1 1
         a restore 1 1 | halt OPERATOR | phase READ_ONLY | phase SPOT | a restore 1 1 | a restore 1 10:1 | b restore 1 6:2
         phase REDUCE_ONLY | phase OPEN | halt OPERATOR | phase READ_ONLY | phase SPOT | b restore 1 6:2 | b restore 2 16:6:2 | show spot",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 b buy 1 @ 98 OPEN
            #3 b buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 safe mode 1 OPERATOR cancelled 2
            #3 OPEN -> HALTED
            #4 HALTED -> READ_ONLY
            #5 READ_ONLY -> SPOT
            #6 b cannot restore: NOT_RESTORABLE
            #6 b restores, of incident 1:
            #6 b buy 1 @ 98 OPEN
            #7 a rejected: UNKNOWN_INCIDENT
            #8 a rejected: UNKNOWN_INCIDENT
            #9 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #10 a restores, of incident 1:
            #10 a buy 1 @ 99 OPEN
            #11 b buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #11 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #11 safe mode 1 OPERATOR cancelled 2
            #11 SPOT -> HALTED
            #12 HALTED -> READ_ONLY
            #13 READ_ONLY -> SPOT
            #14 a cannot restore: NOT_RESTORABLE
            #15 a restores, of incident 1:
            #15 a buy 1 @ 99 OPEN
            #16 b restores, of incident 1:
            #16 b buy 1 @ 98 OPEN
            #17 SPOT -> REDUCE_ONLY
            #18 REDUCE_ONLY -> OPEN
            #19 b buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 2
            #19 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 2
            #19 safe mode 2 OPERATOR cancelled 2
            #19 OPEN -> HALTED
            #20 HALTED -> READ_ONLY
            #21 READ_ONLY -> SPOT
            #22 b cannot restore: NOT_RESTORABLE
            #23 b restores, of incident 2:
            #23 b buy 1 @ 98 OPEN
            #24 bids [1@98] asks []"#]],
    );
}

#[test]
fn restored_orders_match_what_is_there_and_never_each_other() {
    check(
        "a buy 2 @ 99 | a buy 2 @ 100 | halt OPERATOR | phase READ_ONLY | phase SPOT | b sell 3 @ 98 | a restore 1 1,2,1 | show spot
         a cancel all | a sell 1 @ 100 | halt OPERATOR | phase READ_ONLY | phase SPOT | a sell 1 @ 99 | halt OPERATOR | phase READ_ONLY | phase SPOT
         a buy 1 @ 99.5 | halt OPERATOR | phase READ_ONLY | phase SPOT | a restore 1 14,18 | a restore 1 18 | show spot",
        expect![[r#"
            #1 a buy 2 @ 99 OPEN
            #2 a buy 2 @ 100 OPEN
            #3 a buy 2 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 a buy 2 @ 100 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 safe mode 1 OPERATOR cancelled 2
            #3 OPEN -> HALTED
            #4 HALTED -> READ_ONLY
            #5 READ_ONLY -> SPOT
            #6 b sell 3 @ 98 OPEN
            #7 a restores, of incident 1:
            #7 fill 1 2 @ 98: maker b fee 0.0196, taker a fee 0.098
            #7 b sell 3 @ 98 PARTIALLY_FILLED 2/3
            #7 a buy 2 @ 99 FILLED
            #7 a restores, of incident 1:
            #7 fill 2 1 @ 98: maker b fee 0.0098, taker a fee 0.049
            #7 b sell 3 @ 98 FILLED
            #7 a buy 2 @ 100 PARTIALLY_FILLED 1/2
            #7 a cannot restore: NOT_RESTORABLE
            #8 bids [1@100] asks []
            #9 a buy 2 @ 100 CANCELLED 1/2 USER_CANCEL_ALL by USER
            #9 a cancelled 1
            #10 a sell 1 @ 100 OPEN
            #11 a sell 1 @ 100 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #11 safe mode 1 OPERATOR cancelled 1
            #11 SPOT -> HALTED
            #12 HALTED -> READ_ONLY
            #13 READ_ONLY -> SPOT
            #14 a sell 1 @ 99 OPEN
            #15 a sell 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #15 safe mode 1 OPERATOR cancelled 1
            #15 SPOT -> HALTED
            #16 HALTED -> READ_ONLY
            #17 READ_ONLY -> SPOT
            #18 a buy 1 @ 99.5 OPEN
            #19 a buy 1 @ 99.5 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #19 safe mode 1 OPERATOR cancelled 1
            #19 SPOT -> HALTED
            #20 HALTED -> READ_ONLY
            #21 READ_ONLY -> SPOT
            #22 a restores, of incident 1:
            #22 a sell 1 @ 99 OPEN
            #22 a cannot restore: RESTORE_SEPARATELY
            #23 a restores, of incident 1:
            #23 a sell 1 @ 99 OPEN SELF_TRADE by ENGINE
            #23 a buy 1 @ 99.5 CANCELLED SELF_TRADE by ENGINE
            #24 bids [] asks [1@99]"#]],
    );
}

#[test]
fn the_orders_of_a_message_share_the_fills_of_one_command() {
    check(
        "a buy 2 @ 99 | a buy 3 @ 98 | a buy 1 @ 97 | halt OPERATOR | phase READ_ONLY | phase SPOT
         b sell 1 @ 96 | c sell 1 @ 96 | d sell 1 @ 96 | b sell 1 @ 96.5 | c sell 1 @ 96.5 | a restore 1 1,2,3 | show spot | a restore 1 2 | show spot",
        expect![[r#"
            #1 a buy 2 @ 99 OPEN
            #2 a buy 3 @ 98 OPEN
            #3 a buy 1 @ 97 OPEN
            #4 a buy 1 @ 97 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a buy 3 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a buy 2 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 safe mode 1 OPERATOR cancelled 3
            #4 OPEN -> HALTED
            #5 HALTED -> READ_ONLY
            #6 READ_ONLY -> SPOT
            #7 b sell 1 @ 96 OPEN
            #8 c sell 1 @ 96 OPEN
            #9 d sell 1 @ 96 OPEN
            #10 b sell 1 @ 96.5 OPEN
            #11 c sell 1 @ 96.5 OPEN
            #12 a restores, of incident 1:
            #12 fill 1 1 @ 96: maker b fee 0.0096, taker a fee 0.048
            #12 b sell 1 @ 96 FILLED
            #12 fill 2 1 @ 96: maker c fee 0.0096, taker a fee 0.048
            #12 c sell 1 @ 96 FILLED
            #12 a buy 2 @ 99 FILLED
            #12 a cannot restore: RESTORE_SEPARATELY
            #12 a restores, of incident 1:
            #12 fill 3 1 @ 96: maker d fee 0.0096, taker a fee 0.048
            #12 d sell 1 @ 96 FILLED
            #12 a buy 1 @ 97 FILLED
            #13 bids [] asks [1@96.5 1@96.5]
            #14 a restores, of incident 1:
            #14 fill 4 1 @ 96.5: maker b fee 0.00965, taker a fee 0.04825
            #14 b sell 1 @ 96.5 FILLED
            #14 fill 5 1 @ 96.5: maker c fee 0.00965, taker a fee 0.04825
            #14 c sell 1 @ 96.5 FILLED
            #14 a buy 3 @ 98 PARTIALLY_FILLED 2/3
            #15 bids [1@98] asks []"#]],
    );
}

#[test]
fn the_orders_of_a_message_trade_in_one_market_and_rest_in_any() {
    check(
        "a buy 1 @ 99 | a buy 1 @ 99 perp | a buy 1 @ 98 btc | halt OPERATOR | phase READ_ONLY | phase SPOT | phase REDUCE_ONLY | phase OPEN
         b sell 2 @ 98 | b sell 2 @ 98 perp | a restore 1 1,2,3 | a restore 1 2 | show spot | show perp | show btc",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a buy 1 @ 99 perp OPEN
            #3 a buy 1 @ 98 btc OPEN
            #4 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a buy 1 @ 99 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 a buy 1 @ 98 btc CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #4 safe mode 1 OPERATOR cancelled 3
            #4 OPEN -> HALTED
            #5 HALTED -> READ_ONLY
            #6 READ_ONLY -> SPOT
            #7 SPOT -> REDUCE_ONLY
            #8 REDUCE_ONLY -> OPEN
            #9 b sell 2 @ 98 OPEN
            #10 b sell 2 @ 98 perp OPEN
            #11 a restores, of incident 1:
            #11 fill 1 1 @ 98: maker b fee 0.0098, taker a fee 0.049
            #11 b sell 2 @ 98 PARTIALLY_FILLED 1/2
            #11 a buy 1 @ 99 FILLED
            #11 a cannot restore: RESTORE_SEPARATELY
            #11 a restores, of incident 1:
            #11 a buy 1 @ 98 btc OPEN
            #12 a restores, of incident 1:
            #12 fill 1 1 @ 98: maker b fee 0.0196, taker a fee 0.049
            #12 b sell 2 @ 98 perp PARTIALLY_FILLED 1/2
            #12 a buy 1 @ 99 perp FILLED
            #13 bids [] asks [1@98]
            #14 bids [] asks [1@98]
            #15 bids [1@98] asks []"#]],
    );
}

/// What is kept of an incident is under the digest, every byte of it.
#[test]
fn a_changed_byte_of_what_is_kept_is_another_state_or_none() {
    let mut world = World::funded(genesis());
    for n in 0..3u64 {
        let order = world.order('a', SPOT, Side::Buy, Qty((1 + n) * UNIT), Price((90 + n) * UNIT));
        world.apply(Command::Place(order));
    }
    let (incident, reasons) = (IncidentId(1), LossReasons::of(LossReason::Operator));
    world.apply(Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: world.now }));
    let bytes = world.engine.snapshot();
    let mut refused = 0;
    for at in 12..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        match Engine::restore(&world.genesis, &changed) {
            Ok(engine) => assert_ne!(engine.digest(), world.engine.digest(), "byte {at} is not covered by the digest"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[test]
fn reduce_only_orders_come_back_as_far_as_there_is_something_to_reduce() {
    check(
        "a buy 3 @ 100 perp | b sell 3 @ 100 perp | a sell 2 @ 105 perp ro | a sell 1 @ 104 perp ro | halt OPERATOR | phase READ_ONLY | phase SPOT
         phase REDUCE_ONLY | a sell 2 @ 99 perp ro | b buy 2 @ 99 perp ro | a restore 1 3,4 | show perp | show a",
        expect![[r#"
            #1 a buy 3 @ 100 perp OPEN
            #2 fill 1 3 @ 100: maker a fee 0.06, taker b fee 0.15
            #2 a buy 3 @ 100 perp FILLED
            #2 b sell 3 @ 100 perp FILLED
            #3 a sell 2 @ 105 perp OPEN
            #4 a sell 1 @ 104 perp OPEN
            #5 a sell 1 @ 104 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a sell 2 @ 105 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 safe mode 1 OPERATOR cancelled 2
            #5 OPEN -> HALTED
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #8 SPOT -> REDUCE_ONLY
            #9 a sell 2 @ 99 perp OPEN
            #10 fill 2 2 @ 99: maker a fee 0.0396 pnl -2, taker b fee 0.099 pnl 2
            #10 a sell 2 @ 99 perp FILLED
            #10 b buy 2 @ 99 perp FILLED
            #11 a cannot restore: REDUCE_ONLY_WOULD_INCREASE
            #11 a restores, of incident 1:
            #11 a sell 1 @ 104 perp OPEN
            #12 bids [] asks [1@104]
            #13 a 9997.9004 USDC 100 ETH; perp 1 cost 100; AV 9997.9004 IMR 10.05 MMR 5.05"#]],
    );
}

#[test]
fn orders_get_a_new_end_where_they_may_have_one() {
    check(
        "a buy 1 @ 99 gtt=5s | a buy 1 @ 98 | a buy 1 @ 97 post | a sell 1 @ 90 perp stop=95 gtt=5s | halt OPERATOR | phase READ_ONLY | phase SPOT | wait 6s
         a restore 1 1 | a restore 1 1,2,3 gtt=2s | a restore 1 3 | wait 2s | due | show spot
         phase REDUCE_ONLY | phase OPEN | a restore 1 4 gtt=5s | wait 5s | due",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a buy 1 @ 98 OPEN
            #3 a buy 1 @ 97 OPEN
            #4 a sell 1 @ 90 perp UNTRIGGERED
            #5 a buy 1 @ 97 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a sell 1 @ 90 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 safe mode 1 OPERATOR cancelled 4
            #5 OPEN -> HALTED
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #9 a cannot restore: BAD_GOOD_TIL
            #10 a restores, of incident 1:
            #10 a buy 1 @ 99 OPEN
            #10 a restores, of incident 1:
            #10 a buy 1 @ 98 OPEN
            #10 a cannot restore: INCONSISTENT_FIELDS
            #11 a restores, of incident 1:
            #11 a buy 1 @ 97 OPEN
            #13 a buy 1 @ 99 EXPIRED GOOD_TIL by ENGINE
            #13 a buy 1 @ 98 EXPIRED GOOD_TIL by ENGINE
            #14 bids [1@97] asks []
            #15 SPOT -> REDUCE_ONLY
            #16 REDUCE_ONLY -> OPEN
            #17 a restores, of incident 1:
            #17 a sell 1 @ 90 perp UNTRIGGERED
            #19 a sell 1 @ 90 perp EXPIRED GOOD_TIL by ENGINE"#]],
    );
}

#[test]
fn a_session_key_restores_within_its_bounds() {
    check(
        "a buy 1 @ 99 | a buy 5 @ 98 | a buy 1 @ 99 perp post | a grant k 600s spot max=200 | halt OPERATOR | phase READ_ONLY | phase SPOT | phase REDUCE_ONLY
         phase OPEN | a restore 1 1,2,3 by k | a revoke k | a restore 1 2 by k | a restore 1 2,3",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a buy 5 @ 98 OPEN
            #3 a buy 1 @ 99 perp OPEN
            #4 a session key set
            #5 a buy 5 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 a buy 1 @ 99 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 safe mode 1 OPERATOR cancelled 3
            #5 OPEN -> HALTED
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #8 SPOT -> REDUCE_ONLY
            #9 REDUCE_ONLY -> OPEN
            #10 a restores, of incident 1:
            #10 a buy 1 @ 99 OPEN
            #10 a cannot restore: SESSION_KEY_SCOPE
            #10 a cannot restore: SESSION_KEY_SCOPE
            #11 a session key revoked
            #12 a rejected: UNKNOWN_SESSION_KEY, nonce kept
            #13 a restores, of incident 1:
            #13 a buy 5 @ 98 OPEN
            #13 a restores, of incident 1:
            #13 a buy 1 @ 99 perp OPEN"#]],
    );
}

/// Two engines, one of them stopped and started in between.
#[test]
fn a_restart_between_incident_and_restore_changes_nothing() {
    let mut world = World::funded(genesis());
    let orders: Vec<_> = (0..4u64)
        .map(|n| {
            let order = world.order('a', SPOT, Side::Buy, Qty((1 + n) * UNIT), Price((90 + n) * UNIT));
            world.apply(Command::Place(order));
            order.signed.hash
        })
        .collect();
    let incident = IncidentId(1);
    let reasons = LossReasons::of(LossReason::Operator);
    world.apply(Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: world.now }));
    let mut restarted = Engine::restore(&world.genesis, &world.engine.snapshot()).expect("restores");
    let report = Bytes32([1; 32]);
    let steps = [Phase::ReadOnly, Phase::Spot]
        .map(|phase| Command::SetPhase(SetPhase { incident, phase, post_only_until: Ts(0), integrity_report: report }));
    let some = RestoreOrders { signed: world.sign('a'), incident, orders: orders[1..3].to_vec(), good_til: Ts(0) };
    let all = RestoreOrders { signed: world.sign('a'), incident, orders: orders.clone(), good_til: Ts(0) };
    for (n, command) in
        [&steps[..], &[Command::RestoreOrders(some), Command::RestoreOrders(all)]].concat().iter().enumerate()
    {
        let events = world.apply(command.clone());
        let seq = world.engine.last_seq();
        assert_eq!(restarted.apply(seq, world.now, command).events, events);
        assert_eq!(restarted.digest(), world.engine.digest(), "after step {n}");
        restarted = Engine::restore(&world.genesis, &restarted.snapshot()).expect("restores");
    }
    assert_eq!(world.engine.open_orders(), 4);
    assert!(world.engine.cancelled.pages().is_empty(), "what is restored is not kept");
}

#[test]
fn orders_are_kept_for_seven_days() {
    check(
        "a buy 1 @ 99 | a buy 1 @ 98 | halt OPERATOR | phase READ_ONLY | phase SPOT | wait 604799s | oracle spot 100 | tick | a restore 1 1 | wait 1s | tick | a restore 1 2",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a buy 1 @ 98 OPEN
            #3 a buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #3 safe mode 1 OPERATOR cancelled 2
            #3 OPEN -> HALTED
            #4 HALTED -> READ_ONLY
            #5 READ_ONLY -> SPOT
            #9 a restores, of incident 1:
            #9 a buy 1 @ 99 OPEN
            #12 a cannot restore: NOT_RESTORABLE"#]],
    );
}
