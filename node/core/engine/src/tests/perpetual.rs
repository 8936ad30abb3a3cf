use super::check;
use super::script::check_in;
use super::world::{UNIT, World, genesis};
use expect_test::expect;
use keel_types::{Amount, MarketKind, Qty};

#[test]
fn a_trade_opens_both_positions_and_a_reduction_realises() {
    check(
        "a sell 10 @ 100 perp | b buy 10 @ 100 perp | show a | show b
         a buy 4 @ 98 perp | c sell 4 @ 98 perp | show a
         b sell 4 @ 104 perp | c buy 4 @ 104 perp | show b | show c | show funds",
        expect![[r#"
            #1 a sell 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a sell 10 @ 100 perp FILLED
            #2 b buy 10 @ 100 perp FILLED
            #3 a 9999.8 USDC 100 ETH; perp -10 cost -1000; AV 9999.8 IMR 100.5 MMR 50.5
            #4 b 9999.5 USDC 100 ETH; perp 10 cost 1000; AV 9999.5 IMR 100.5 MMR 50.5
            #5 a buy 4 @ 98 perp OPEN
            #6 fill 2 4 @ 98: maker a fee 0.0784 pnl 8, taker c fee 0.196
            #6 a buy 4 @ 98 perp FILLED
            #6 c sell 4 @ 98 perp FILLED
            #7 a 10007.7216 USDC 100 ETH; perp -6 cost -600; AV 10007.7216 IMR 60.3 MMR 30.3
            #8 b sell 4 @ 104 perp OPEN
            #9 fill 3 4 @ 104: maker b fee 0.0832 pnl 16, taker c fee 0.208 pnl -24
            #9 b sell 4 @ 104 perp FILLED
            #9 c buy 4 @ 104 perp FILLED
            #10 b 10015.4168 USDC 100 ETH; perp 6 cost 600; AV 10015.4168 IMR 60.3 MMR 30.3
            #11 c 9975.596 USDC 100 ETH; perp 0 cost 0
            #12 fees 1.2656 insurance 0"#]],
    );
}

#[test]
fn a_position_turns_over_in_one_trade() {
    check(
        "a buy 5 @ 100 perp | b sell 5 @ 100 perp | a sell 8 @ 103 perp | c buy 8 @ 103 perp | show a",
        expect![[r#"
        #1 a buy 5 @ 100 perp OPEN
        #2 fill 1 5 @ 100: maker a fee 0.1, taker b fee 0.25
        #2 a buy 5 @ 100 perp FILLED
        #2 b sell 5 @ 100 perp FILLED
        #3 a sell 8 @ 103 perp OPEN
        #4 fill 2 8 @ 103: maker a fee 0.1648 pnl 15, taker c fee 0.412
        #4 a sell 8 @ 103 perp FILLED
        #4 c buy 8 @ 103 perp FILLED
        #5 a 10014.7352 USDC 100 ETH; perp -3 cost -309; AV 10023.7352 IMR 30.15 MMR 15.15"#]],
    );
}

#[test]
fn an_order_stands_while_account_value_covers_initial_margin() {
    // IMR of n at 99 is n x 100 x 10.05%: 10,000 cover 995.0248.
    check(
        "a buy 995.025 @ 99 perp | a buy 995.024 @ 99 perp | show a | a buy 0.02 @ 99 perp | a sell 995 @ 101 perp",
        expect![[r#"
            #1 a rejected: INSUFFICIENT_MARGIN
            #2 a buy 995.024 @ 99 perp OPEN
            #3 a 10000 USDC 100 ETH; AV 10000 IMR 9999.9912 MMR 0
            #4 a rejected: INSUFFICIENT_MARGIN
            #5 a sell 995 @ 101 perp OPEN"#]],
    );
}

#[test]
fn open_loss_counts_against_the_order_that_has_it() {
    // A buy at 108 loses 8 when filled: 100 x (10.05 + 8) = 1,805; a sell at 93 loses 7.
    check(
        "a buy 100 @ 108 perp | show a | a cancel 1 | a sell 100 @ 93 perp | show a",
        expect![[r#"
            #1 a buy 100 @ 108 perp OPEN
            #2 a 10000 USDC 100 ETH; AV 10000 IMR 1805 MMR 0
            #3 a buy 100 @ 108 perp CANCELLED USER_CANCEL by USER
            #3 a cancelled 1
            #4 a sell 100 @ 93 perp OPEN
            #5 a 10000 USDC 100 ETH; AV 10000 IMR 1705 MMR 0"#]],
    );
}

#[test]
fn spot_base_is_no_margin_and_reservations_are_not_collateral() {
    check(
        "a buy 90 @ 100 | show a | a buy 100 @ 99 perp | a buy 90 @ 99 perp | a buy 1 @ 100",
        expect![[r#"
        #1 a buy 90 @ 100 OPEN
        #2 a 10000 USDC (9004.5 reserved) 100 ETH
        #3 a rejected: INSUFFICIENT_MARGIN
        #4 a buy 90 @ 99 perp OPEN
        #5 a rejected: INSUFFICIENT_MARGIN"#]],
    );
}

#[test]
fn an_order_may_not_trade_away_more_than_the_account_is_worth() {
    // Turning 350 long into 350 short leaves IMR as it was; at 73 it would also hand 350 x 3 and more to whoever bids there.
    check(
        "a buy 350 @ 100 perp | b sell 350 @ 100 perp
         price perp 95.5 | price perp 91 | price perp 87 | price perp 83 | price perp 79 | price perp 76
         b buy 700 @ 73 perp | a sell 700 @ 73 perp | show a | show b",
        expect![[r#"
            #1 a buy 350 @ 100 perp OPEN
            #2 fill 1 350 @ 100: maker a fee 7, taker b fee 17.5
            #2 a buy 350 @ 100 perp FILLED
            #2 b sell 350 @ 100 perp FILLED
            #3 price of 1 95.5
            #4 price of 1 91
            #5 price of 1 87
            #6 price of 1 83
            #7 price of 1 79
            #8 price of 1 76
            #9 b buy 700 @ 73 perp OPEN
            #10 a rejected: INSUFFICIENT_MARGIN
            #11 a 9993 USDC 100 ETH; perp 350 cost 35000; AV 1593 IMR 2673.3 MMR 1343.3
            #12 b 9982.5 USDC 100 ETH; perp -350 cost -35000; AV 18382.5 IMR 2673.3 MMR 1343.3"#]],
    );
}

#[test]
fn an_account_below_its_margin_may_only_reduce() {
    // a is long 350 at 100, paid 7. At 76: AV 9,993 - 8,400 = 1,593, IMR 350 x 76 x 10.05% = 2,673.3.
    // A sell beyond the position does not raise IMR as long as it is the smaller side.
    check(
        "a buy 350 @ 100 perp | b sell 350 @ 100 perp
         price perp 95.5 | price perp 91 | price perp 87 | price perp 83 | price perp 79 | price perp 76 | show a
         a buy 1 @ 70 perp | a sell 1 @ 80 perp | a sell 351 @ 80 perp | a withdraw 1 USDC | a buy 1 @ 100
         a cancel all | c buy 400 @ 75 perp | a sell 350 @ 75 perp | show a",
        expect![[r#"
            #1 a buy 350 @ 100 perp OPEN
            #2 fill 1 350 @ 100: maker a fee 7, taker b fee 17.5
            #2 a buy 350 @ 100 perp FILLED
            #2 b sell 350 @ 100 perp FILLED
            #3 price of 1 95.5
            #4 price of 1 91
            #5 price of 1 87
            #6 price of 1 83
            #7 price of 1 79
            #8 price of 1 76
            #9 a 9993 USDC 100 ETH; perp 350 cost 35000; AV 1593 IMR 2673.3 MMR 1343.3
            #10 a rejected: INSUFFICIENT_MARGIN
            #11 a sell 1 @ 80 perp OPEN
            #12 a sell 351 @ 80 perp OPEN
            #13 a rejected: INSUFFICIENT_MARGIN
            #14 a rejected: INSUFFICIENT_MARGIN
            #15 a sell 1 @ 80 perp CANCELLED USER_CANCEL_ALL by USER
            #15 a sell 351 @ 80 perp CANCELLED USER_CANCEL_ALL by USER
            #15 a cancelled 2
            #16 c buy 400 @ 75 perp OPEN
            #17 fill 2 350 @ 75: maker c fee 5.25, taker a fee 13.125 pnl -8750
            #17 c buy 400 @ 75 perp PARTIALLY_FILLED 350/400
            #17 a sell 350 @ 75 perp FILLED
            #18 a 1229.875 USDC 100 ETH; perp 0 cost 0"#]],
    );
}

#[test]
fn a_reduction_that_raises_initial_margin_stands_when_it_betters_the_ratio() {
    // As above, AV/MMR = 1,593/1,343.3 = 1.186. Resting below mark, a sell has an open loss, which raises IMR.
    // 10 filled at 70: 1,532.65/1,304.92 = 1.175, lower. 100 at 75: 1,489.25/959.5, higher. All at 72: AV 180.4, a full close.
    // All at 71: AV -169.4.
    let at_76 = "a buy 350 @ 100 perp | b sell 350 @ 100 perp
        price perp 95.5 | price perp 91 | price perp 87 | price perp 83 | price perp 79 | price perp 76";
    check(
        &format!(
            "{at_76} | a sell 10 @ 70 perp | a sell 100 @ 75 perp | a cancel 10 | a sell 350 @ 71 perp | a sell 350 @ 72 perp"
        ),
        expect![[r#"
            #1 a buy 350 @ 100 perp OPEN
            #2 fill 1 350 @ 100: maker a fee 7, taker b fee 17.5
            #2 a buy 350 @ 100 perp FILLED
            #2 b sell 350 @ 100 perp FILLED
            #3 price of 1 95.5
            #4 price of 1 91
            #5 price of 1 87
            #6 price of 1 83
            #7 price of 1 79
            #8 price of 1 76
            #9 a rejected: INSUFFICIENT_MARGIN
            #10 a sell 100 @ 75 perp OPEN
            #11 a sell 100 @ 75 perp CANCELLED USER_CANCEL by USER
            #11 a cancelled 1
            #12 a rejected: INSUFFICIENT_MARGIN
            #13 a sell 350 @ 72 perp OPEN"#]],
    );
}

#[test]
fn a_maker_below_its_margin_that_would_add_risk_is_cancelled_and_matching_goes_on() {
    check(
        "a buy 350 @ 100 perp | b sell 350 @ 100 perp | a buy 10 @ 74 perp | c buy 10 @ 74 perp
         price perp 95.5 | price perp 91 | price perp 87 | price perp 83 | price perp 79 | price perp 76
         d sell 15 @ 74 perp | show perp",
        expect![[r#"
            #1 a buy 350 @ 100 perp OPEN
            #2 fill 1 350 @ 100: maker a fee 7, taker b fee 17.5
            #2 a buy 350 @ 100 perp FILLED
            #2 b sell 350 @ 100 perp FILLED
            #3 a buy 10 @ 74 perp OPEN
            #4 c buy 10 @ 74 perp OPEN
            #5 price of 1 95.5
            #6 price of 1 91
            #7 price of 1 87
            #8 price of 1 83
            #9 price of 1 79
            #10 price of 1 76
            #11 a buy 10 @ 74 perp CANCELLED MARGIN by RISK
            #11 fill 2 10 @ 74: maker c fee 0.148, taker d fee 0.37
            #11 c buy 10 @ 74 perp FILLED
            #11 d sell 15 @ 74 perp PARTIALLY_FILLED 10/15
            #12 bids [] asks [5@74]"#]],
    );
}

#[test]
fn a_maker_below_its_margin_may_still_reduce() {
    check(
        "a buy 350 @ 100 perp | b sell 350 @ 100 perp | a sell 10 @ 110 perp
         price perp 95.5 | price perp 91 | price perp 87 | price perp 83 | price perp 79 | price perp 76
         a sell 10 @ 77 perp | d buy 15 @ 77 perp",
        expect![[r#"
            #1 a buy 350 @ 100 perp OPEN
            #2 fill 1 350 @ 100: maker a fee 7, taker b fee 17.5
            #2 a buy 350 @ 100 perp FILLED
            #2 b sell 350 @ 100 perp FILLED
            #3 a sell 10 @ 110 perp OPEN
            #4 price of 1 95.5
            #5 price of 1 91
            #6 price of 1 87
            #7 price of 1 83
            #8 price of 1 79
            #9 price of 1 76
            #10 a sell 10 @ 77 perp OPEN
            #11 fill 2 10 @ 77: maker a fee 0.154 pnl -230, taker d fee 0.385
            #11 a sell 10 @ 77 perp FILLED
            #11 d buy 15 @ 77 perp PARTIALLY_FILLED 10/15"#]],
    );
}

#[test]
fn withdrawals_leave_initial_margin() {
    // Long 100 at 100: IMR 1,005. At 104 the profit of 400 backs the position, yet only collateral leaves.
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | show a | a withdraw 8993.01 USDC | a withdraw 8993 USDC
         price perp 104 | show a | a withdraw 358 USDC | a withdraw 350 USDC | show a",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 a 9998 USDC 100 ETH; perp 100 cost 10000; AV 9998 IMR 1005 MMR 505
            #4 a rejected: INSUFFICIENT_MARGIN
            #5 a withdrew 8993 as 8993000000 units, id 1
            #6 price of 1 104
            #7 a 1005 USDC 100 ETH; perp 100 cost 10000; AV 1405 IMR 1045.2 MMR 525.2
            #8 a withdrew 358 as 358000000 units, id 2
            #9 a rejected: INSUFFICIENT_MARGIN
            #10 a 647 USDC 100 ETH; perp 100 cost 10000; AV 1047 IMR 1045.2 MMR 525.2"#]],
    );
}

#[test]
fn reduce_only_orders_never_exceed_what_they_reduce() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp | a buy 1 @ 99 perp ro | a sell 11 @ 101 perp ro | c sell 1 @ 101 perp ro
         a sell 6 @ 102 perp ro | a sell 4 @ 101 perp ro | a sell 2 @ 101.5 perp ro | show perp
         a sell 8 @ 100 perp | b buy 8 @ 100 perp | show perp | show a",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #3 a rejected: REDUCE_ONLY_WOULD_INCREASE
            #4 a rejected: REDUCE_ONLY_WOULD_INCREASE
            #5 c rejected: REDUCE_ONLY_WOULD_INCREASE
            #6 a sell 6 @ 102 perp OPEN
            #7 a sell 4 @ 101 perp OPEN
            #8 a sell 2 @ 101.5 perp OPEN
            #8 a sell 6 @ 102 perp CANCELLED REDUCE_ONLY by RISK
            #9 bids [] asks [4@101 2@101.5]
            #10 a sell 8 @ 100 perp OPEN
            #11 fill 2 8 @ 100: maker a fee 0.16, taker b fee 0.4
            #11 a sell 8 @ 100 perp FILLED
            #11 b buy 8 @ 100 perp FILLED
            #11 a sell 2 @ 101.5 perp CANCELLED REDUCE_ONLY by RISK
            #11 a sell 4 @ 101 perp CANCELLED REDUCE_ONLY by RISK
            #12 bids [] asks []
            #13 a 9999.64 USDC 100 ETH; perp 2 cost 200; AV 9999.64 IMR 20.1 MMR 10.1"#]],
    );
}

#[test]
fn a_reduce_only_maker_stops_at_flat_within_one_command() {
    // a is long 10 and sells 10 plainly and 10 reduce-only; the taker of 25 finds the second one with nothing left to reduce.
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp | a sell 7 @ 101 perp | a sell 10 @ 102 perp ro | c sell 5 @ 103 perp
         d buy 25 @ 103 perp | show a | show perp",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #3 a sell 7 @ 101 perp OPEN
            #4 a sell 10 @ 102 perp OPEN
            #5 c sell 5 @ 103 perp OPEN
            #6 fill 2 7 @ 101: maker a fee 0.1414 pnl 7, taker d fee 0.3535
            #6 a sell 7 @ 101 perp FILLED
            #6 fill 3 3 @ 102: maker a fee 0.0612 pnl 6, taker d fee 0.153
            #6 a sell 10 @ 102 perp PARTIALLY_FILLED 3/10
            #6 a sell 10 @ 102 perp CANCELLED 3/10 REDUCE_ONLY by RISK
            #6 fill 4 5 @ 103: maker c fee 0.103, taker d fee 0.2575
            #6 c sell 5 @ 103 perp FILLED
            #6 d buy 25 @ 103 perp PARTIALLY_FILLED 15/25
            #7 a 10012.5974 USDC 100 ETH; perp 0 cost 0
            #8 bids [10@103] asks []"#]],
    );
}

#[test]
fn reduce_only_orders_go_when_the_position_turns_over() {
    check(
        "a buy 5 @ 100 perp | b sell 5 @ 100 perp | a sell 5 @ 104 perp ro | a sell 9 @ 101 perp | b buy 9 @ 101 perp | show a",
        expect![[r#"
            #1 a buy 5 @ 100 perp OPEN
            #2 fill 1 5 @ 100: maker a fee 0.1, taker b fee 0.25
            #2 a buy 5 @ 100 perp FILLED
            #2 b sell 5 @ 100 perp FILLED
            #3 a sell 5 @ 104 perp OPEN
            #4 a sell 9 @ 101 perp OPEN
            #5 fill 2 9 @ 101: maker a fee 0.1818 pnl 5, taker b fee 0.4545 pnl -5
            #5 a sell 9 @ 101 perp FILLED
            #5 b buy 9 @ 101 perp FILLED
            #5 a sell 5 @ 104 perp CANCELLED REDUCE_ONLY by RISK
            #6 a 10004.7182 USDC 100 ETH; perp -4 cost -404; AV 10008.7182 IMR 40.2 MMR 20.2"#]],
    );
}

#[test]
fn a_part_closed_cost_that_does_not_divide_gives_the_fund_one_quantum() {
    // 0.03 cost 3.0002; a third moves: 1.00006667, two thirds stay: 2.00013334, a quantum more than there was.
    check(
        "a buy 0.02 @ 100.01 perp | a buy 0.01 @ 100 perp | b sell 0.03 @ 100 perp | show a | a sell 0.01 @ 101 perp | c buy 0.01 @ 101 perp
         show a | show funds",
        expect![[r#"
            #1 a buy 0.02 @ 100.01 perp OPEN
            #2 a buy 0.01 @ 100 perp OPEN
            #3 fill 1 0.02 @ 100.01: maker a fee 0.00040004, taker b fee 0.0010001
            #3 a buy 0.02 @ 100.01 perp FILLED
            #3 fill 2 0.01 @ 100: maker a fee 0.0002, taker b fee 0.0005
            #3 a buy 0.01 @ 100 perp FILLED
            #3 b sell 0.03 @ 100 perp FILLED
            #4 a 9999.99939996 USDC 100 ETH; perp 0.03 cost 3.0002; AV 9999.99919996 IMR 0.3015 MMR 0.1515
            #5 a sell 0.01 @ 101 perp OPEN
            #6 fill 3 0.01 @ 101: maker a fee 0.000202 pnl 0.00993333, taker c fee 0.000505
            #6 a sell 0.01 @ 101 perp FILLED
            #6 c buy 0.01 @ 101 perp FILLED
            #7 a 10000.00913129 USDC 100 ETH; perp 0.02 cost 2.00013334; AV 10000.00899795 IMR 0.201 MMR 0.101
            #8 fees 0.00280714 insurance 0.00000001"#]],
    );
}

#[test]
fn position_and_open_interest_have_caps() {
    let mut rules = genesis();
    for market in &mut rules.markets {
        if let MarketKind::Perpetual(spec) = &mut market.kind {
            spec.position_max = Qty(20 * UNIT);
            spec.open_interest_max = Qty(15 * UNIT);
        }
    }
    check_in(
        World::funded(rules),
        "a buy 15 @ 100 perp | a buy 6 @ 99 perp | a buy 5 @ 99 perp | b sell 15 @ 100 perp | c sell 1 @ 99 perp
         b buy 1 @ 101 perp | a sell 1 @ 101 perp | a sell 15 @ 101 perp",
        expect![[r#"
            #1 a buy 15 @ 100 perp OPEN
            #2 a rejected: POSITION_LIMIT
            #3 a buy 5 @ 99 perp OPEN
            #4 fill 1 15 @ 100: maker a fee 0.3, taker b fee 0.75
            #4 a buy 15 @ 100 perp FILLED
            #4 b sell 15 @ 100 perp FILLED
            #5 c rejected: OPEN_INTEREST_CAP
            #6 b buy 1 @ 101 perp OPEN
            #7 fill 2 1 @ 101: maker b fee 0.0202 pnl -1, taker a fee 0.0505 pnl 1
            #7 b buy 1 @ 101 perp FILLED
            #7 a sell 1 @ 101 perp FILLED
            #8 a sell 15 @ 101 perp OPEN"#]],
    );
}

#[test]
fn initial_margin_rises_with_open_interest() {
    let mut rules = genesis();
    for market in &mut rules.markets {
        if let MarketKind::Perpetual(spec) = &mut market.kind {
            spec.open_interest_lower = Amount(1_000 * i128::from(UNIT));
            spec.open_interest_upper = Amount(3_000 * i128::from(UNIT));
        }
    }
    // 20 open at 100: imf = 10% + 90% x (2,000 - 1,000) / 2,000 = 55%.
    check_in(
        World::funded(rules),
        "a buy 20 @ 100 perp | b sell 20 @ 100 perp | show a",
        expect![[r#"
        #1 a buy 20 @ 100 perp OPEN
        #2 fill 1 20 @ 100: maker a fee 0.4, taker b fee 1
        #2 a buy 20 @ 100 perp FILLED
        #2 b sell 20 @ 100 perp FILLED
        #3 a 9999.6 USDC 100 ETH; perp 20 cost 2000; AV 9999.6 IMR 1101 MMR 101"#]],
    );
}

#[test]
fn a_maker_rebate_comes_out_of_the_taker_fee() {
    check(
        "a buy 10 @ 100 btc | b sell 10 @ 100 btc | show a | show b | show funds",
        expect![[r#"
        #1 a buy 10 @ 100 btc OPEN
        #2 fill 1 10 @ 100: maker a fee -0.1, taker b fee 0.5
        #2 a buy 10 @ 100 btc FILLED
        #2 b sell 10 @ 100 btc FILLED
        #3 a 10000.1 USDC 100 ETH; btc 10 cost 1000; AV 10000.1 IMR 100.5 MMR 50.5
        #4 b 9999.5 USDC 100 ETH; btc -10 cost -1000; AV 9999.5 IMR 100.5 MMR 50.5
        #5 fees 0.4 insurance 0"#]],
    );
}

#[test]
fn margin_is_shared_between_markets() {
    check(
        "a buy 50 @ 100 perp | b sell 50 @ 100 perp | a sell 60 @ 100 btc | c buy 60 @ 100 btc | price perp 104 | price btc 103 | show a",
        expect![[r#"
            #1 a buy 50 @ 100 perp OPEN
            #2 fill 1 50 @ 100: maker a fee 1, taker b fee 2.5
            #2 a buy 50 @ 100 perp FILLED
            #2 b sell 50 @ 100 perp FILLED
            #3 a sell 60 @ 100 btc OPEN
            #4 fill 1 60 @ 100: maker a fee -0.6, taker c fee 3
            #4 a sell 60 @ 100 btc FILLED
            #4 c buy 60 @ 100 btc FILLED
            #5 price of 1 104
            #6 price of 2 103
            #7 a 9999.6 USDC 100 ETH; perp 50 cost 5000; btc -60 cost -6000; AV 10019.6 IMR 1143.69 MMR 574.69"#]],
    );
}
