//! What every party ends up with when accounts fall below maintenance margin. Perpetual: imf 10%, mmf 5%, liquidation fee 1%.
use super::check;
use expect_test::expect;

#[test]
fn an_account_is_liquidated_in_steps_and_keeps_what_is_left() {
    check(
        "insure 10000
         a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         c buy 20 @ 93 perp | c buy 60 @ 92 perp
         oracle perp 96 | due | show a
         wait 1s | oracle perp 93 | due | show a | show c | show funds",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #4 a buy 100 @ 100 perp FILLED
            #4 b sell 100 @ 100 perp FILLED
            #5 c buy 20 @ 93 perp OPEN
            #6 c buy 60 @ 92 perp OPEN
            #9 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 698 IMR 964.8 MMR 484.8
            #12 fill 2 20 @ 93: maker c fee 0.372, taker a fee 0 pnl -140
            #12 c buy 20 @ 93 perp FILLED
            #12 fill 3 20 @ 92: maker c fee 0.368, taker a fee 0 pnl -160
            #12 c buy 60 @ 92 perp PARTIALLY_FILLED 20/60
            #12 a sell 40 @ 89.02 perp FILLED
            #12 liquidation of a: CLOSE 40%: sell 40/40 perp limit 89.02; fee 37
            #13 a 761 USDC 100 ETH; perp 60 cost 6000; AV 341 IMR 560.79 MMR 281.79
            #14 c 9999.26 USDC 100 ETH; perp 40 cost 3700; AV 10019.26 IMR 747.72 MMR 187.86
            #15 fees 7.74 insurance 10037"#]],
    );
}

#[test]
fn what_does_not_fill_is_retried_at_the_next_mark_three_times_and_then_the_fund_takes_over() {
    check(
        "insure 10000
         a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         oracle perp 96 | due | wait 1s | oracle perp 93 | due | due
         wait 1s | oracle perp 92.9 | due | wait 1s | oracle perp 92.8 | due | wait 1s | oracle perp 92.7 | due | show a
         wait 1s | oracle perp 92 | due | show a | show funds
         c buy 40 @ 91.9 perp | oracle perp 92.1 | due | oracle perp 92 | due | show c | show funds",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #4 a buy 100 @ 100 perp FILLED
            #4 b sell 100 @ 100 perp FILLED
            #9 a sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #9 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #13 a sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #13 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #16 a sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #16 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #19 a sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #19 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #20 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 368 IMR 931.635 MMR 468.135
            #23 liquidation of a: TAKE_OVER left 206 fee 92 deficit 0
            #24 a 206 USDC 100 ETH; perp 0 cost 0
            #25 fees 7 insurance 10092
            #26 c buy 40 @ 91.9 perp OPEN
            #28 fill 2 10.912 @ 91.9: maker c fee 0.20056256, taker 0x1f fee 0 pnl -1.0912
            #28 c buy 40 @ 91.9 perp PARTIALLY_FILLED 10.912/40
            #28 0x1f sell 10.912 @ 91.64 perp FILLED
            #30 fill 3 10.924 @ 91.9: maker c fee 0.20078312, taker 0x1f fee 0 pnl -1.0924
            #30 c buy 40 @ 91.9 perp PARTIALLY_FILLED 21.836/40
            #30 0x1f sell 10.924 @ 91.54 perp FILLED
            #31 c 9999.59865432 USDC 100 ETH; perp 21.836 cost 2006.7284; AV 10001.78225432 IMR 369.84 MMR 101.450056
            #32 fees 7.40134568 insurance 10089.8164"#]],
    );
}

#[test]
fn a_bankrupt_account_larger_than_the_fund_is_deleveraged_against_those_in_profit_and_no_more_than_needed() {
    check(
        "insure 500
         a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 60 @ 100 perp | c sell 40 @ 100 perp
         oracle perp 96 | oracle perp 92 | oracle perp 88 | due | show a | show b | show c | show funds",
        expect![[r#"
            #1 0x1f credited 500
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 60 @ 100: maker a fee 1.2, taker b fee 3
            #4 a buy 100 @ 100 perp PARTIALLY_FILLED 60/100
            #4 b sell 60 @ 100 perp FILLED
            #5 fill 2 40 @ 100: maker a fee 0.8, taker c fee 2
            #5 a buy 100 @ 100 perp FILLED
            #5 c sell 40 @ 100 perp FILLED
            #9 fill 3 33.9 @ 89.02: maker b fee 0 pnl 372.222, taker a fee 0 pnl -372.222
            #9 fill 4 15.411 @ 89.02: maker c fee 0 pnl 169.21278, taker a fee 0 pnl -169.21278
            #9 liquidation of a: DELEVERAGE sell 49.311 perp @ 89.02: b 33.9, c 15.411
            #9 liquidation of a: TAKE_OVER left 0 fee 0 deficit 51.70278
            #10 a 0 USDC 100 ETH; perp 0 cost 0
            #11 b 10369.222 USDC 100 ETH; perp -26.1 cost -2610; AV 10682.422 IMR 230.8284 MMR 115.9884
            #12 c 10167.21278 USDC 100 ETH; perp -24.589 cost -2458.9; AV 10462.28078 IMR 217.465116 MMR 109.273516
            #13 fees 7 insurance 448.29722"#]],
    );
}

#[test]
fn a_short_is_liquidated_as_a_long_is() {
    check(
        "insure 10000
         a withdraw 8900 USDC | a sell 100 @ 100 perp | b buy 100 @ 100 perp
         c sell 100 @ 105 perp
         oracle perp 104 | due | wait 1s | oracle perp 106 | due | show a | show b | show c | show funds",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a sell 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #4 a sell 100 @ 100 perp FILLED
            #4 b buy 100 @ 100 perp FILLED
            #5 c sell 100 @ 105 perp OPEN
            #10 fill 2 20 @ 105: maker c fee 0.42, taker a fee 0 pnl -100
            #10 c sell 100 @ 105 perp PARTIALLY_FILLED 20/100
            #10 a buy 20 @ 110.98 perp FILLED
            #10 liquidation of a: CLOSE 20%: buy 20/20 perp limit 110.98; fee 21
            #11 a 977 USDC 100 ETH; perp -80 cost -8000; AV 497 IMR 852.24 MMR 428.24
            #12 b 9995 USDC 100 ETH; perp 100 cost 10000; AV 10595 IMR 1065.3 MMR 535.3
            #13 c 9999.58 USDC 100 ETH; perp -20 cost -2100; AV 9979.58 IMR 1145.3 MMR 107.06
            #14 fees 7.42 insurance 10021"#]],
    );
}

#[test]
fn all_orders_go_first_and_their_reservations_may_be_enough() {
    check(
        "insure 10000
         a withdraw 8800 USDC | a buy 1 @ 90 | a buy 100 @ 100 perp | b sell 100 @ 100 perp | a sell 100 @ 120 perp ro
         oracle perp 96 | oracle perp 92.9 | due | show a",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8800 as 8800000000 units, id 1
            #3 a buy 1 @ 90 OPEN
            #4 a buy 100 @ 100 perp OPEN
            #5 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #5 a buy 100 @ 100 perp FILLED
            #5 b sell 100 @ 100 perp FILLED
            #6 a sell 100 @ 120 perp OPEN
            #9 a buy 1 @ 90 CANCELLED LIQUIDATION by LIQUIDATION
            #9 a sell 100 @ 120 perp CANCELLED LIQUIDATION by LIQUIDATION
            #9 liquidation of a: CANCEL 2
            #10 a 1198 USDC 100 ETH; perp 100 cost 10000; AV 488 IMR 933.645 MMR 469.145"#]],
    );
}

#[test]
fn nobody_is_liquidated_while_a_market_of_theirs_is_held_or_stale() {
    check(
        "insure 10000
         a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp | a buy 0.1 @ 100 btc | d sell 0.1 @ 100 btc
         oracle perp 96 | price btc 120 | oracle perp 93 | due | show a
         wait 2s | price btc 120 | wait 2s | price btc 120 | oracle perp 93 | due | show a",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #4 a buy 100 @ 100 perp FILLED
            #4 b sell 100 @ 100 perp FILLED
            #5 a buy 0.1 @ 100 btc OPEN
            #6 fill 1 0.1 @ 100: maker a fee -0.001, taker d fee 0.005
            #6 a buy 0.1 @ 100 btc FILLED
            #6 d sell 0.1 @ 100 btc FILLED
            #8 held 2 at 120
            #11 a 1098.001 USDC 100 ETH; perp 100 cost 10000; btc 0.1 cost 10; AV 398.001 IMR 935.655 MMR 470.155
            #15 price of 2 120
            #17 a sell 40 @ 89.01 perp CANCELLED IOC_REMAINDER by ENGINE
            #17 a sell 0.04 @ 114.85 btc CANCELLED IOC_REMAINDER by ENGINE
            #17 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.01, sell 0/0.04 btc limit 114.85; fee 0
            #18 a 1098.001 USDC 100 ETH; perp 100 cost 10000; btc 0.1 cost 10; AV 400.001 IMR 935.856 MMR 470.256"#]],
    );
}

#[test]
fn an_account_below_initial_margin_loses_orders_that_add_risk_and_can_close_at_the_bid() {
    check(
        "a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         a buy 5 @ 95 perp | a buy 1 @ 96 perp | a sell 50 @ 99 perp
         oracle perp 98 | b buy 100 @ 97.5 perp | due | show a
         a sell 100 @ 97.5 perp ioc | show a",
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 100 @ 100 perp OPEN
            #3 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #3 a buy 100 @ 100 perp FILLED
            #3 b sell 100 @ 100 perp FILLED
            #4 a buy 5 @ 95 perp OPEN
            #5 a buy 1 @ 96 perp OPEN
            #6 a sell 50 @ 99 perp OPEN
            #8 b buy 100 @ 97.5 perp OPEN
            #9 a buy 5 @ 95 perp CANCELLED MARGIN by RISK
            #9 a buy 1 @ 96 perp CANCELLED MARGIN by RISK
            #10 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 898 IMR 984.9 MMR 494.9
            #11 fill 2 100 @ 97.5: maker b fee 1.95 pnl 250, taker a fee 4.875 pnl -250
            #11 b buy 100 @ 97.5 perp FILLED
            #11 a sell 100 @ 97.5 perp FILLED
            #12 a 843.125 USDC 100 ETH; perp 0 cost 0; AV 843.125 IMR 492.45 MMR 0"#]],
    );
}

#[test]
fn the_maker_gets_no_rebate_from_a_liquidation_that_pays_no_fee() {
    check(
        "insure 10000
         a withdraw 8900 USDC | a buy 100 @ 100 btc | b sell 100 @ 100 btc | c buy 100 @ 93 btc
         oracle btc 96 | wait 1s | oracle btc 93 | due | show c | show funds",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 btc OPEN
            #4 fill 1 100 @ 100: maker a fee -1, taker b fee 5
            #4 a buy 100 @ 100 btc FILLED
            #4 b sell 100 @ 100 btc FILLED
            #5 c buy 100 @ 93 btc OPEN
            #9 fill 2 40 @ 93: maker c fee 0, taker a fee 0 pnl -280
            #9 c buy 100 @ 93 btc PARTIALLY_FILLED 40/100
            #9 a sell 40 @ 88.99 btc FILLED
            #9 liquidation of a: CLOSE 40%: sell 40/40 btc limit 88.99; fee 37.2
            #10 c 10000 USDC 100 ETH; btc 40 cost 3720; AV 10000 IMR 934.65 MMR 187.86
            #11 fees 4 insurance 10037.2"#]],
    );
}

#[test]
fn a_resting_spot_buy_of_an_account_that_lost_its_margin_does_not_trade() {
    check(
        "insure 10000
         a withdraw 7000 USDC | a buy 15 @ 100 | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         oracle perp 96 | oracle perp 92 | b sell 15 @ 100 ioc | show a | show b",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 7000 as 7000000000 units, id 1
            #3 a buy 15 @ 100 OPEN
            #4 a buy 100 @ 100 perp OPEN
            #5 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #5 a buy 100 @ 100 perp FILLED
            #5 b sell 100 @ 100 perp FILLED
            #8 a buy 15 @ 100 CANCELLED MARGIN by RISK
            #8 b sell 15 @ 100 CANCELLED IOC_REMAINDER by ENGINE
            #9 a 2998 USDC 100 ETH; perp 100 cost 10000; AV 2198 IMR 924.6 MMR 464.6
            #10 b 9995 USDC 100 ETH; perp -100 cost -10000; AV 10795 IMR 924.6 MMR 464.6"#]],
    );
}

/// Paper losses of the others wait for the end of the grace; who opened in it is liquidated in it.
#[test]
fn the_grace_protects_positions_as_they_stood_and_not_those_opened_in_it() {
    check(
        "insure 10000
         a withdraw 8900 USDC | d withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         halt OPERATOR | resume 0 | phase READ_ONLY | phase SPOT 0s | phase REDUCE_ONLY | phase OPEN
         oracle perp 100 | d buy 100 @ 100 perp | b sell 100 @ 100 perp
         oracle perp 96 | wait 1s | oracle perp 93 | due | show a | show d
         wait 121s | oracle perp 93 | due | show a",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 d withdrew 8900 as 8900000000 units, id 2
            #4 a buy 100 @ 100 perp OPEN
            #5 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #5 a buy 100 @ 100 perp FILLED
            #5 b sell 100 @ 100 perp FILLED
            #6 safe mode 1 OPERATOR cancelled 0
            #6 OPEN -> HALTED
            #7 resumed by 0
            #8 HALTED -> READ_ONLY
            #9 READ_ONLY -> SPOT
            #10 SPOT -> REDUCE_ONLY
            #11 REDUCE_ONLY -> OPEN
            #13 d buy 100 @ 100 perp OPEN
            #14 fill 2 100 @ 100: maker d fee 2, taker b fee 5
            #14 d buy 100 @ 100 perp FILLED
            #14 b sell 100 @ 100 perp FILLED
            #18 d sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #18 liquidation of d: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #19 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 398 IMR 934.65 MMR 469.65
            #20 d 1098 USDC 100 ETH; perp 100 cost 10000; AV 398 IMR 934.65 MMR 469.65
            #23 a sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #23 liquidation of a: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #23 d sell 40 @ 89.02 perp CANCELLED IOC_REMAINDER by ENGINE
            #23 liquidation of d: CLOSE 40%: sell 0/40 perp limit 89.02; fee 0
            #24 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 398 IMR 934.65 MMR 469.65"#]],
    );
}

/// Two longs of before the incident; one of them is added to in the grace, by a little.
#[test]
fn who_adds_to_a_position_in_the_grace_leaves_it_with_the_whole_position() {
    check(
        "insure 10000
         a withdraw 8900 USDC | d withdraw 8900 USDC | a buy 95 @ 100 perp | b sell 95 @ 100 perp | d buy 95 @ 100 perp | b sell 95 @ 100 perp
         halt OPERATOR | resume 0 | phase READ_ONLY | phase SPOT 0s | phase REDUCE_ONLY | phase OPEN
         oracle perp 100 | d buy 1 @ 100 perp | b sell 1 @ 100 perp
         oracle perp 96 | wait 1s | oracle perp 92.5 | due | show a | show d",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 d withdrew 8900 as 8900000000 units, id 2
            #4 a buy 95 @ 100 perp OPEN
            #5 fill 1 95 @ 100: maker a fee 1.9, taker b fee 4.75
            #5 a buy 95 @ 100 perp FILLED
            #5 b sell 95 @ 100 perp FILLED
            #6 d buy 95 @ 100 perp OPEN
            #7 fill 2 95 @ 100: maker d fee 1.9, taker b fee 4.75
            #7 d buy 95 @ 100 perp FILLED
            #7 b sell 95 @ 100 perp FILLED
            #8 safe mode 1 OPERATOR cancelled 0
            #8 OPEN -> HALTED
            #9 resumed by 0
            #10 HALTED -> READ_ONLY
            #11 READ_ONLY -> SPOT
            #12 SPOT -> REDUCE_ONLY
            #13 REDUCE_ONLY -> OPEN
            #15 d buy 1 @ 100 perp OPEN
            #16 fill 3 1 @ 100: maker d fee 0.02, taker b fee 0.05
            #16 d buy 1 @ 100 perp FILLED
            #16 b sell 1 @ 100 perp FILLED
            #20 d sell 38.4 @ 88.57 perp CANCELLED IOC_REMAINDER by ENGINE
            #20 liquidation of d: CLOSE 40%: sell 0/38.4 perp limit 88.57; fee 0
            #21 a 1098.1 USDC 100 ETH; perp 95 cost 9500; AV 385.6 IMR 883.14375 MMR 443.76875
            #22 d 1098.08 USDC 100 ETH; perp 96 cost 9600; AV 378.08 IMR 892.44 MMR 448.44"#]],
    );
}
