use super::check;
use super::world::{World, genesis};
use expect_test::expect;
use keel_types::*;

#[test]
fn every_order_is_cancelled_in_market_side_price_time_order() {
    check(
        "a sell 1 @ 103 perp | b sell 1 @ 102 | a buy 2 @ 98 | b buy 3 @ 99 | c buy 1 @ 98 | d sell 1 @ 98 | a sell 4 @ 102
         halt ORACLE_STALE | show a | show spot",
        expect![[r#"
            #1 a sell 1 @ 103 perp OPEN
            #2 b sell 1 @ 102 OPEN
            #3 a buy 2 @ 98 OPEN
            #4 b buy 3 @ 99 OPEN
            #5 c buy 1 @ 98 OPEN
            #6 fill 1 1 @ 99: maker b fee 0.0099, taker d fee 0.0495
            #6 b buy 3 @ 99 PARTIALLY_FILLED 1/3
            #6 d sell 1 @ 98 FILLED
            #7 a sell 4 @ 102 OPEN
            #8 a buy 2 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 c buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 b buy 3 @ 99 CANCELLED 1/3 SAFE_MODE by SAFE_MODE incident 1
            #8 b sell 1 @ 102 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a sell 4 @ 102 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a sell 1 @ 103 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 safe mode 1 ORACLE_STALE cancelled 6
            #8 OPEN -> HALTED
            #9 a 10000 USDC 100 ETH
            #10 bids [] asks []"#]],
    );
}

#[test]
fn halted_answers_every_user_with_the_phase_but_takes_prices() {
    check(
        "halt OPERATOR | a buy 1 @ 99 | a buy 1 @ 99 perp | a withdraw 1 USDC | a cancel all | a deposit 1 USDC | z register
         wait 1s | price perp 101 | tick | seal",
        expect![[r#"
            #1 safe mode 1 OPERATOR cancelled 0
            #1 OPEN -> HALTED
            #2 a rejected: PHASE_FORBIDS
            #3 a rejected: PHASE_FORBIDS
            #4 a rejected: PHASE_FORBIDS
            #5 a cancelled 0
            #6 system rejected: PHASE_FORBIDS
            #7 z rejected: PHASE_FORBIDS, nonce kept
            #9 price of 1 101
            #11 sealed 1"#]],
    );
}

#[test]
fn phases_allow_what_their_row_says() {
    check(
        "a buy 5 @ 100 perp | b sell 5 @ 100 perp | halt OPERATOR
         phase READ_ONLY | a deposit 1 USDC | a withdraw 1 USDC | a buy 1 @ 99
         phase SPOT 5s | a buy 1 @ 99 | a buy 1 @ 99 post | a buy 1 @ 99 perp post | a withdraw 1 USDC | z register
         wait 5s | a buy 1 @ 98 | a sell 1 @ 101 perp ro
         phase REDUCE_ONLY | a buy 1 @ 100 | c buy 1 @ 99 perp | c buy 1 @ 99.5 perp post | c buy 1 @ 99.49 perp post | a sell 1 @ 99 perp ro
         phase OPEN | c buy 1 @ 99 perp",
        expect![[r#"
            #1 a buy 5 @ 100 perp OPEN
            #2 fill 1 5 @ 100: maker a fee 0.1, taker b fee 0.25
            #2 a buy 5 @ 100 perp FILLED
            #2 b sell 5 @ 100 perp FILLED
            #3 safe mode 1 OPERATOR cancelled 0
            #3 OPEN -> HALTED
            #4 HALTED -> READ_ONLY
            #5 a credited 1
            #6 a rejected: PHASE_FORBIDS
            #7 a rejected: PHASE_FORBIDS
            #8 READ_ONLY -> SPOT
            #9 a rejected: PHASE_FORBIDS
            #10 a buy 1 @ 99 OPEN
            #11 a rejected: PHASE_FORBIDS
            #12 a withdrew 1 as 1000000 units, id 1
            #13 z registered
            #15 a buy 1 @ 98 OPEN
            #16 a rejected: PHASE_FORBIDS
            #17 SPOT -> REDUCE_ONLY
            #18 a buy 1 @ 100 OPEN
            #19 c rejected: PHASE_FORBIDS
            #20 c buy 1 @ 99.5 perp OPEN
            #21 c rejected: PHASE_FORBIDS
            #22 fill 2 1 @ 99.5: maker c fee 0.0199, taker a fee 0.04975 pnl -0.5
            #22 c buy 1 @ 99.5 perp FILLED
            #22 a sell 1 @ 99 perp FILLED
            #23 REDUCE_ONLY -> OPEN
            #24 c buy 1 @ 99 perp OPEN"#]],
    );
}

#[test]
fn phases_are_walked_one_by_one_and_only_for_the_running_incident() {
    check(
        "phase READ_ONLY | resume 0 | halt OPERATOR | phase SPOT | phase HALTED | phase READ_ONLY | phase READ_ONLY | phase OPEN | resume 0",
        expect![[r#"
            #1 system rejected: WRONG_INCIDENT
            #2 system rejected: WRONG_INCIDENT
            #3 safe mode 1 OPERATOR cancelled 0
            #3 OPEN -> HALTED
            #4 system rejected: WRONG_PHASE
            #5 system rejected: WRONG_PHASE
            #6 HALTED -> READ_ONLY
            #7 system rejected: WRONG_PHASE
            #8 system rejected: WRONG_PHASE
            #9 system rejected: WRONG_PHASE"#]],
    );
}

#[test]
fn reasons_that_need_an_operator_wait_for_one_and_a_broken_invariant_for_two() {
    check(
        "halt STATE_DIVERGED | phase READ_ONLY | resume 3 | phase READ_ONLY",
        expect![[r#"
        #1 safe mode 1 STATE_DIVERGED cancelled 0
        #1 OPEN -> HALTED
        #2 system rejected: WRONG_PHASE
        #3 resumed by 3
        #4 HALTED -> READ_ONLY"#]],
    );
    check(
        "halt INVARIANT_BROKEN | resume 3 | phase READ_ONLY | resume 3 | phase READ_ONLY | resume 4 | phase READ_ONLY",
        expect![[r#"
            #1 safe mode 1 INVARIANT_BROKEN cancelled 0
            #1 OPEN -> HALTED
            #2 resumed by 3
            #3 system rejected: WRONG_PHASE
            #4 resumed by 3
            #5 system rejected: WRONG_PHASE
            #6 resumed by 4
            #7 HALTED -> READ_ONLY"#]],
    );
}

#[test]
fn a_new_loss_while_reopening_halts_again_in_the_same_incident() {
    check(
        "halt OPERATOR | phase READ_ONLY | phase SPOT | a buy 1 @ 99 | halt STATE_DIVERGED | phase READ_ONLY | resume 0 | halt RESTART
         phase READ_ONLY | resume 0 | phase READ_ONLY | phase SPOT | phase REDUCE_ONLY | phase OPEN | halt OPERATOR",
        expect![[r#"
            #1 safe mode 1 OPERATOR cancelled 0
            #1 OPEN -> HALTED
            #2 HALTED -> READ_ONLY
            #3 READ_ONLY -> SPOT
            #4 a buy 1 @ 99 OPEN
            #5 a buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #5 safe mode 1 STATE_DIVERGED+OPERATOR cancelled 1
            #5 SPOT -> HALTED
            #6 system rejected: WRONG_PHASE
            #7 resumed by 0
            #8 safe mode 1 STATE_DIVERGED+RESTART+OPERATOR cancelled 0
            #9 system rejected: WRONG_PHASE
            #10 resumed by 0
            #11 HALTED -> READ_ONLY
            #12 READ_ONLY -> SPOT
            #13 SPOT -> REDUCE_ONLY
            #14 REDUCE_ONLY -> OPEN
            #15 safe mode 2 OPERATOR cancelled 0
            #15 OPEN -> HALTED"#]],
    );
}

#[test]
fn withdrawals_before_open_count_the_worse_price() {
    // Long 100 at 100, paid 0.02% as maker. Before the incident 100, then 104: the profit does not count. Then 97: the loss does.
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | halt OPERATOR | price perp 104 | phase READ_ONLY | phase SPOT | show a
         a withdraw 8993.01 USDC | a withdraw 8900 USDC | price perp 100 | price perp 97 | a withdraw 1 USDC",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 safe mode 1 OPERATOR cancelled 0
            #3 OPEN -> HALTED
            #4 price of 1 104
            #5 HALTED -> READ_ONLY
            #6 READ_ONLY -> SPOT
            #7 a 9998 USDC 100 ETH; perp 100 cost 10000; AV 10398 IMR 1045.2 MMR 525.2
            #8 a rejected: INSUFFICIENT_MARGIN
            #9 a withdrew 8900 as 8900000000 units, id 1
            #10 price of 1 100
            #11 price of 1 97
            #12 a rejected: INSUFFICIENT_MARGIN"#]],
    );
}

#[test]
fn a_grace_after_reopening_ignores_profit_on_paper() {
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | a withdraw 8900 USDC | halt OPERATOR | price perp 104
         phase READ_ONLY | phase SPOT | phase REDUCE_ONLY | phase OPEN | show a
         a buy 10 @ 99 perp | a withdraw 100 USDC | wait 120s | price perp 104 | price spot 100 | price btc 100 | a buy 10 @ 99 perp",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 a withdrew 8900 as 8900000000 units, id 1
            #4 safe mode 1 OPERATOR cancelled 0
            #4 OPEN -> HALTED
            #5 price of 1 104
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #8 SPOT -> REDUCE_ONLY
            #9 REDUCE_ONLY -> OPEN
            #10 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 1498 IMR 1045.2 MMR 525.2
            #11 a rejected: INSUFFICIENT_MARGIN
            #12 a rejected: INSUFFICIENT_MARGIN
            #14 price of 1 104
            #15 price of 0 100
            #16 price of 2 100
            #17 a buy 10 @ 99 perp OPEN"#]],
    );
}

#[test]
fn profit_on_paper_leaves_with_nobody_before_open_and_backs_no_new_position() {
    // Long 100 at 100, marked 104 before and after the incident: 400 of profit that no trade has shown to be there.
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | price perp 104 | halt OPERATOR | price perp 104
         phase READ_ONLY | phase SPOT | show a | a withdraw 8953 USDC | a withdraw 8900 USDC
         phase REDUCE_ONLY | a buy 10 @ 103.9 perp post | b sell 10 @ 104.1 perp post",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 price of 1 104
            #4 safe mode 1 OPERATOR cancelled 0
            #4 OPEN -> HALTED
            #6 HALTED -> READ_ONLY
            #7 READ_ONLY -> SPOT
            #8 a 9998 USDC 100 ETH; perp 100 cost 10000; AV 10398 IMR 1045.2 MMR 525.2
            #9 a rejected: INSUFFICIENT_MARGIN
            #10 a withdrew 8900 as 8900000000 units, id 1
            #11 SPOT -> REDUCE_ONLY
            #12 a rejected: INSUFFICIENT_MARGIN
            #13 b sell 10 @ 104.1 perp OPEN"#]],
    );
}

#[test]
fn funding_of_an_opening_counts_from_there_and_at_no_rate_from_before() {
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | c buy 20 @ 101 perp | wait 5s | oracle perp 100 | tick | show funding perp
         halt OPERATOR | phase READ_ONLY | phase SPOT | wait 4s | oracle perp 100 | phase REDUCE_ONLY | phase OPEN
         wait 4.999s | oracle perp 100 | tick | show funding perp
         wait 5s | oracle perp 100 | tick | show funding perp",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 c buy 20 @ 101 perp OPEN
            #6 funding of 1 at 950000, index 0
            #6 funding of 2 at 10000, index 0
            #7 perp index 0 F 0
            #8 c buy 20 @ 101 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 safe mode 1 OPERATOR cancelled 1
            #8 OPEN -> HALTED
            #9 HALTED -> READ_ONLY
            #10 READ_ONLY -> SPOT
            #13 SPOT -> REDUCE_ONLY
            #14 REDUCE_ONLY -> OPEN
            #17 funding of 1 at 10000, index 0
            #18 perp index 0 F 0
            #21 funding of 1 at 10000, index 0.00000173
            #22 perp index 173 F 0"#]],
    );
}

/// Each line: how long the venue was up before an incident and how long the incident ran, in minutes; then the grace after it, in seconds.
#[test]
fn a_day_has_half_an_hour_of_grace_and_each_incident_two_minutes_at_least() {
    let mut world = World::funded(genesis());
    for (n, (up, down, grace)) in [
        (10, 1, 120),
        (10, 20, 1_200),
        // 2 and 20 minutes were had: 8 are left.
        (30, 20, 480),
        (10, 20, 120),
        // The first has left the day; those of 20, 8 and 2 minutes have not: none is left.
        (24 * 60 - 112, 20, 120),
        // Two days later.
        (48 * 60, 300, 1_800),
        // The new incident ended it after 10 minutes: 20 are left.
        (10, 300, 1_200),
    ]
    .into_iter()
    .enumerate()
    {
        let incident = IncidentId(n as u32 + 1);
        world.now = world.now.plus_ms(up * 60_000);
        let reasons = LossReasons::of(LossReason::OracleStale);
        world.apply(Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: world.now }));
        world.now = world.now.plus_ms(down * 60_000);
        for phase in [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open] {
            let integrity_report = if phase == Phase::Spot { Bytes32([7; 32]) } else { Bytes32::default() };
            world.apply(Command::SetPhase(SetPhase { incident, phase, post_only_until: Ts(0), integrity_report }));
        }
        let until = world.engine.phase().grace_until;
        assert_eq!((until.0 - world.now.0) / 1_000_000_000, grace, "incident {}", n + 1);
    }
}
