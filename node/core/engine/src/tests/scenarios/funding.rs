//! What funding costs when time has holes.

use super::check;
use expect_test::expect;

/// Without depth for the impact notional the rate is 0.01% per 8 h: of 100 in 30 s 100 x 0.0001 x 30 / 28,800 = 1,041.67 quantums per
/// unit, in 60 s 2,083.33. `oracle` takes 1 ms, so the gaps are 30 s (counts), 3,600 s and 30.001 s (count as no time), 30 s.
///
/// a, long 100 from index 0 to 2,083, pays 208,300 quantums into F. b, short 33.333, receives 69,432.6 and d, short 66.667, 138,867.4, both
/// rounded down: 208,299, and F keeps one. c held its 100 from 2,083 to 2,083 and pays nothing.
/// a 10,000 - 2 - 2 - 0.002083; b 10,000 - 2 x 1.66665 + 0.00069432; c 10,000 - 5 - 2; d 10,000 - 2 x 3.33335 + 0.00138867.
#[test]
fn a_gap_of_half_a_minute_counts_and_one_of_an_hour_does_not() {
    check(
        "a buy 100 @ 100 perp | b sell 33.333 @ 100 perp | d sell 66.667 @ 100 perp
         wait 5s | oracle perp 100 | tick | show funding perp
         wait 29.999s | oracle perp 100 | tick | show funding perp
         wait 3599.999s | oracle perp 100 | tick | show funding perp
         wait 30s | oracle perp 100 | tick | show funding perp
         wait 29.999s | oracle perp 100 | tick | show funding perp | show a | show b | show d
         a sell 100 @ 100 perp | c buy 100 @ 100 perp | show funding perp
         c sell 100 @ 100 perp | b buy 33.333 @ 100 perp | d buy 66.667 @ 100 perp | show all",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 33.333 @ 100: maker a fee 0.66666, taker b fee 1.66665
            #2 a buy 100 @ 100 perp PARTIALLY_FILLED 33.333/100
            #2 b sell 33.333 @ 100 perp FILLED
            #3 fill 2 66.667 @ 100: maker a fee 1.33334, taker d fee 3.33335
            #3 a buy 100 @ 100 perp FILLED
            #3 d sell 66.667 @ 100 perp FILLED
            #6 funding of 1 at 10000, index 0
            #6 funding of 2 at 10000, index 0
            #7 perp index 0 F 0
            #10 funding of 1 at 10000, index 0.00001041
            #11 perp index 1041 F 0
            #14 funding of 1 at 10000, index 0.00001041
            #15 perp index 1041 F 0
            #18 funding of 1 at 10000, index 0.00001041
            #19 perp index 1041 F 0
            #22 funding of 1 at 10000, index 0.00002083
            #23 perp index 2083 F 0
            #24 a 9998 USDC 100 ETH; perp 100 cost 10000; AV 9997.997917 IMR 1005 MMR 505
            #25 b 9998.33335 USDC 100 ETH; perp -33.333 cost -3333.3; AV 9998.33404432 IMR 334.99665 MMR 168.33165
            #26 d 9996.66665 USDC 100 ETH; perp -66.667 cost -6666.7; AV 9996.66803867 IMR 670.00335 MMR 336.66835
            #27 a sell 100 @ 100 perp OPEN
            #28 fill 3 100 @ 100: maker a fee 2, taker c fee 5
            #28 a sell 100 @ 100 perp FILLED
            #28 c buy 100 @ 100 perp FILLED
            #29 perp index 2083 F 0.002083
            #30 c sell 100 @ 100 perp OPEN
            #31 fill 4 33.333 @ 100: maker c fee 0.66666, taker b fee 1.66665
            #31 c sell 100 @ 100 perp PARTIALLY_FILLED 33.333/100
            #31 b buy 33.333 @ 100 perp FILLED
            #32 fill 5 66.667 @ 100: maker c fee 1.33334, taker d fee 3.33335
            #32 c sell 100 @ 100 perp FILLED
            #32 d buy 66.667 @ 100 perp FILLED
            #33 a 9995.997917 USDC 100 ETH; perp 0 cost 0
            #33 b 9996.66739432 USDC 100 ETH; perp 0 cost 0
            #33 c 9993 USDC 100 ETH; perp 0 cost 0
            #33 d 9993.33468867 USDC 100 ETH; perp 0 cost 0
            #33 fees 21 insurance 0; F of perp 0.00000001
            #33 in all 40000 USDC"#]],
    );
}

/// The last price is 5.002 s old when the node goes away for 11 s: stale, so a, at AV 398 < MMR 469.65, is left alone for a minute.
/// The first sample, at 5.001 s, sets the rate; nothing accrues until prices are back, at 66.003 s. Then a is liquidated at once: 40% at the bid
/// of 93: 1,098 - 280 - 37.2 = 780.8. The next accrual covers 71.003 - 66.002 = 5.001 s: 93 x 0.0001 x 5.001 / 28,800 = 161.49.
/// a 780.8 - 60 x 7 - 60 x 161 = 360.7999034; b 9,995 + 700 + 0.000161; c 9,999.256 - 0.0000644. Fees 2 + 5 + 0.744.
#[test]
fn a_minute_without_prices_is_post_only_accrues_nothing_and_liquidates_nobody() {
    let minute = "wait 5s | due\n".repeat(10);
    check(
        &format!(
            "a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
             wait 5s | oracle perp 95 | due | oracle perp 93 | wait 11s | due
             {minute}
             show funding perp | c buy 50 @ 93 perp | c buy 50 @ 93 perp post | a sell 1 @ 93 perp ioc | a withdraw 1 USDC | show a
             oracle perp 93 | due | wait 5s | tick | show funding perp | show all"
        ),
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 100 @ 100 perp OPEN
            #3 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #3 a buy 100 @ 100 perp FILLED
            #3 b sell 100 @ 100 perp FILLED
            #30 perp index 0 F 0
            #31 c rejected: MARKET_HELD
            #32 c buy 50 @ 93 perp OPEN
            #33 a rejected: MARKET_HELD
            #34 a rejected: MARKET_HELD
            #35 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 398 IMR 934.65 MMR 469.65
            #37 fill 2 40 @ 93: maker c fee 0.744, taker a fee 0 pnl -280
            #37 c buy 50 @ 93 perp PARTIALLY_FILLED 40/50
            #37 a sell 40 @ 89.02 perp FILLED
            #37 liquidation of a: CLOSE 40%: sell 40/40 perp limit 89.02; fee 37.2
            #39 funding of 1 at 10000, index 0.00000161
            #40 perp index 161 F 0
            #41 a 780.8 USDC 100 ETH; perp 60 cost 6000; AV 360.7999034 IMR 560.79 MMR 281.79
            #41 b 9995 USDC 100 ETH; perp -100 cost -10000; AV 10695.000161 IMR 934.65 MMR 469.65
            #41 c 9999.256 USDC 100 ETH; perp 40 cost 3720; AV 9999.2559356 IMR 467.325 MMR 187.86
            #41 d 10000 USDC 100 ETH
            #41 fees 7.744 insurance 37.2
            #41 in all 31100 USDC"#]],
    );
}

/// Bids of 1,010 at 101 are deep enough for the impact notional of 1,000: P = 1%, rate 1% - 0.05%. In 5.001 s, of 100: 16,496.35 quantums per unit, twice
/// 32,992.7. With bids at 105 P is 5% and the rate its cap of 1%: 17,364.58 more, 50,357.29 in all. a pays b 100 x 50,357.
/// Both close: a 10,000 - 2 - 2 - 0.050357; b 10,000 - 5 - 5 + 0.050357. Fees 14, F empty.
#[test]
fn a_premium_makes_longs_pay_shorts_up_to_the_cap() {
    check(
        "a buy 100 @ 100 perp | b sell 100 @ 100 perp | c buy 10 @ 101 perp
         wait 5s | oracle perp 100 | tick | wait 5s | oracle perp 100 | tick
         c buy 10 @ 105 perp | wait 5s | oracle perp 100 | tick | wait 5s | oracle perp 100 | tick
         c cancel all | a sell 100 @ 100 perp | b buy 100 @ 100 perp | show all",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #2 a buy 100 @ 100 perp FILLED
            #2 b sell 100 @ 100 perp FILLED
            #3 c buy 10 @ 101 perp OPEN
            #6 funding of 1 at 950000, index 0
            #6 funding of 2 at 10000, index 0
            #9 funding of 1 at 950000, index 0.00016496
            #10 c buy 10 @ 105 perp OPEN
            #13 funding of 1 at 1000000, index 0.00032992
            #16 funding of 1 at 1000000, index 0.00050357
            #17 c buy 10 @ 101 perp CANCELLED USER_CANCEL_ALL by USER
            #17 c buy 10 @ 105 perp CANCELLED USER_CANCEL_ALL by USER
            #17 c cancelled 2
            #18 a sell 100 @ 100 perp OPEN
            #19 fill 2 100 @ 100: maker a fee 2, taker b fee 5
            #19 a sell 100 @ 100 perp FILLED
            #19 b buy 100 @ 100 perp FILLED
            #20 a 9995.949643 USDC 100 ETH; perp 0 cost 0
            #20 b 9990.050357 USDC 100 ETH; perp 0 cost 0
            #20 c 10000 USDC 100 ETH
            #20 d 10000 USDC 100 ETH
            #20 fees 14 insurance 0
            #20 in all 40000 USDC"#]],
    );
}
