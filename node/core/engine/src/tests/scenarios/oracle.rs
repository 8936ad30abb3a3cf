//! Publishers that lie, and what a price in doubt means for those who hold positions.

use super::check;
use expect_test::expect;

/// Zero is no report, however often: publisher 0's last one stays that of 100. With 101 from 1 the median of two is 100.5, with 101 from 2 it is 101, and 1,000 from
/// 0 leaves it there: the middle of three.
/// a 10,000 - 0.2 + 10 - 0.202; b 10,000 - 0.5, at 101 worth 10 less; c 10,000 - 0.505. Fees 1.407.
#[test]
fn three_zeros_of_one_publisher_and_its_tenfold_price_among_three_move_nothing() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp
         wait 1s | report 0 perp 0 | wait 1s | report 0 perp 0 | wait 1s | report 0 perp 0 | due | show mark perp
         report 1 perp 101 | report 2 perp 101 | report 0 perp 1000 | due | show mark perp
         a sell 10 @ 101 perp | c buy 10 @ 101 perp | show all",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #4 report of 0 discarded: NOT_POSITIVE
            #6 report of 0 discarded: NOT_POSITIVE
            #8 report of 0 discarded: NOT_POSITIVE
            #10 perp oracle 100 mark 100
            #11 price of 1 100.5
            #12 price of 1 101
            #15 perp oracle 101 mark 101
            #16 a sell 10 @ 101 perp OPEN
            #17 fill 2 10 @ 101: maker a fee 0.202 pnl 10, taker c fee 0.505
            #17 a sell 10 @ 101 perp FILLED
            #17 c buy 10 @ 101 perp FILLED
            #18 a 10009.598 USDC 100 ETH; perp 0 cost 0
            #18 b 9999.5 USDC 100 ETH; perp -10 cost -1000; AV 9989.5 IMR 101.505 MMR 51.005
            #18 c 9999.495 USDC 100 ETH; perp 10 cost 1010; AV 9999.495 IMR 101.505 MMR 51.005
            #18 d 10000 USDC 100 ETH
            #18 fees 1.407 insurance 0
            #18 in all 40000 USDC"#]],
    );
}

/// Two reports are fresh, of 100 and 1,000: their median of 550 is held, and mark stays 100. Those with a position wait; c, without one, takes its money. As
/// soon as 1 corrects itself nothing is held. a 10,000 - 0.2; b 10,000 - 0.5 - 1; c 10,000 - 1.
#[test]
fn a_tenfold_price_of_one_in_two_is_held_and_goes_when_it_is_corrected() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp
         wait 6s | report 0 perp 100 | report 1 perp 1000 | tick | show mark perp | b withdraw 1 USDC | c withdraw 1 USDC | c sell 1 @ 100 perp
         wait 1s | report 0 perp 100 | wait 1s | report 0 perp 100 | due | show mark perp
         report 1 perp 100 | due | show mark perp | b withdraw 1 USDC | show all",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #5 held 1 at 550
            #6 funding of 2 at 10000, index 0
            #7 perp oracle 100 mark 100
            #8 b rejected: MARKET_HELD
            #9 c withdrew 1 as 1000000 units, id 1
            #10 c rejected: MARKET_HELD
            #16 perp oracle 100 mark 100
            #17 price of 1 100
            #19 perp oracle 100 mark 100
            #20 b withdrew 1 as 1000000 units, id 2
            #21 a 9999.8 USDC 100 ETH; perp 10 cost 1000; AV 9999.8 IMR 100.5 MMR 50.5
            #21 b 9998.5 USDC 100 ETH; perp -10 cost -1000; AV 9998.5 IMR 100.5 MMR 50.5
            #21 c 9999 USDC 100 ETH
            #21 d 10000 USDC 100 ETH
            #21 fees 0.7 insurance 0
            #21 in all 39998 USDC"#]],
    );
}

/// A market that really moved a tenth: held, confirmed by two more rounds a second apart, used. a gains 10 x 10 on paper, b loses it.
#[test]
fn a_large_move_that_two_more_rounds_confirm_is_used() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp
         wait 1s | price perp 110 | a withdraw 1 USDC | wait 1s | price perp 110 | show mark perp | wait 1s | price perp 110 | show mark perp
         a withdraw 1 USDC | show all",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #4 held 1 at 110
            #5 a rejected: MARKET_HELD
            #8 perp oracle 100 mark 100
            #10 price of 1 110
            #11 perp oracle 110 mark 110
            #12 a withdrew 1 as 1000000 units, id 1
            #13 a 9998.8 USDC 100 ETH; perp 10 cost 1000; AV 10098.8 IMR 110.55 MMR 55.55
            #13 b 9999.5 USDC 100 ETH; perp -10 cost -1000; AV 9899.5 IMR 110.55 MMR 55.55
            #13 c 10000 USDC 100 ETH
            #13 d 10000 USDC 100 ETH
            #13 fees 0.7 insurance 0
            #13 in all 39999 USDC"#]],
    );
}

/// a: 1,098.6 after fees (1.6 and a rebate of 0.2), long 80 perp and 20 btc at 100. btc is held; at perp 91.5 AV is 418.6 < MMR 9,320 x 5.05% =
/// 470.66. Until btc can be trusted nothing is taken from a, and a may only reduce: 10 @ 91.5, -85 and 0.4575, AV 418.1425, MMR 424.4525.
/// Then: its order goes, and 20% of both, 14 perp and 4 btc, restores 401.3 >= 377.3. Bankruptcy prices 91.5 - 418.1425 x 91.5 / 8,405 =
/// 86.948 and 95.025, up to the tick. 10 @ 91.5, 4 @ 91, 4 @ 99: -85 - 36 - 4, fee 1% of 1,675.
/// a 1,013.1425 - 125 - 16.75 = 871.3925, AV 395.3925; b 9,995, AV + 80 x 8.5; c 10,000 - 0.183 x 2 - 0.0728; d 10,000: a free taker leaves no rebate.
/// Fees 1.6 - 0.2 + 4 + 1 + 0.4575 + 0.4388 = 7.2963.
#[test]
fn a_user_with_a_held_market_is_left_alone_in_all_and_may_only_reduce_until_it_is_released() {
    check(
        "a withdraw 8900 USDC | a buy 80 @ 100 perp | b sell 80 @ 100 perp | a buy 20 @ 100 btc | b sell 20 @ 100 btc
         c buy 20 @ 91.5 perp | c buy 10 @ 91 perp | d buy 10 @ 99 btc
         price btc 120 | oracle perp 96 | oracle perp 92 | oracle perp 91.5 | due | show a
         a withdraw 1 USDC | a withdraw 1 ETH | a transfer 1 USDC b | a buy 1 @ 90 perp | a buy 1 @ 90 btc post | a buy 1 @ 90
         a sell 20 @ 99 btc ioc | a sell 10 @ 91.5 perp ioc | a sell 5 @ 120 btc post | due | show a
         wait 1s | oracle btc 100 | due | show all",
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 80 @ 100 perp OPEN
            #3 fill 1 80 @ 100: maker a fee 1.6, taker b fee 4
            #3 a buy 80 @ 100 perp FILLED
            #3 b sell 80 @ 100 perp FILLED
            #4 a buy 20 @ 100 btc OPEN
            #5 fill 1 20 @ 100: maker a fee -0.2, taker b fee 1
            #5 a buy 20 @ 100 btc FILLED
            #5 b sell 20 @ 100 btc FILLED
            #6 c buy 20 @ 91.5 perp OPEN
            #7 c buy 10 @ 91 perp OPEN
            #8 d buy 10 @ 99 btc OPEN
            #9 held 2 at 120
            #14 a 1098.6 USDC 100 ETH; perp 80 cost 8000; btc 20 cost 2000; AV 418.6 IMR 936.66 MMR 470.66
            #15 a rejected: MARKET_HELD
            #16 a rejected: MARKET_HELD
            #17 a rejected: MARKET_HELD
            #18 a rejected: MARKET_HELD
            #19 a rejected: MARKET_HELD
            #20 a rejected: MARKET_HELD
            #21 a rejected: MARKET_HELD
            #22 fill 2 10 @ 91.5: maker c fee 0.183, taker a fee 0.4575 pnl -85
            #22 c buy 20 @ 91.5 perp PARTIALLY_FILLED 10/20
            #22 a sell 10 @ 91.5 perp FILLED
            #23 a sell 5 @ 120 btc OPEN
            #25 a 1013.1425 USDC 100 ETH; perp 70 cost 7000; btc 20 cost 2000; AV 418.1425 IMR 844.7025 MMR 424.4525
            #28 a sell 5 @ 120 btc CANCELLED LIQUIDATION by LIQUIDATION
            #28 liquidation of a: CANCEL 1
            #28 fill 3 10 @ 91.5: maker c fee 0.183, taker a fee 0 pnl -85
            #28 c buy 20 @ 91.5 perp FILLED
            #28 fill 4 4 @ 91: maker c fee 0.0728, taker a fee 0 pnl -36
            #28 c buy 10 @ 91 perp PARTIALLY_FILLED 4/10
            #28 a sell 14 @ 86.95 perp FILLED
            #28 fill 2 4 @ 99: maker d fee 0, taker a fee 0 pnl -4
            #28 d buy 10 @ 99 btc PARTIALLY_FILLED 4/10
            #28 a sell 4 @ 95.03 btc FILLED
            #28 liquidation of a: CLOSE 20%: sell 14/14 perp limit 86.95, sell 4/4 btc limit 95.03; fee 16.75
            #29 a 871.3925 USDC 100 ETH; perp 56 cost 5600; btc 16 cost 1600; AV 395.3925 IMR 675.762 MMR 339.562
            #29 b 9995 USDC 100 ETH; perp -80 cost -8000; btc -20 cost -2000; AV 10675 IMR 936.66 MMR 470.66
            #29 c 9999.5612 USDC 100 ETH; perp 24 cost 2194; AV 10001.5612 IMR 275.8725 MMR 110.898
            #29 d 10000 USDC 100 ETH; btc 4 cost 396; AV 10004 IMR 100.5 MMR 20.2
            #29 fees 7.2963 insurance 16.75
            #29 in all 31100 USDC"#]],
    );
}

/// a's bid of 10 already counts in IMR, so selling 10 short, or turning 4 long into 6 short, does not raise it; it is a new position all the same.
/// Selling the 4 it has is a reduction. a 10,000 + 0.1 - 0.08 - 0.2 (400 x 5 bps); b 10,000 - 0.5 - 0.2; c 10,000 - 0.08.
#[test]
fn a_user_with_a_held_market_takes_no_new_position_even_where_margin_does_not_grow() {
    check(
        "a buy 10 @ 100 btc | b sell 10 @ 100 btc | a buy 4 @ 100 perp | b sell 4 @ 100 perp | a buy 10 @ 95 perp | c buy 20 @ 100 perp
         price btc 120 | a sell 14 @ 100 perp ioc | a sell 10 @ 100 perp ioc | a sell 4 @ 100 perp ioc | a sell 10 @ 100 perp ioc
         a cancel 5 | oracle btc 100 | show all",
        expect![[r#"
            #1 a buy 10 @ 100 btc OPEN
            #2 fill 1 10 @ 100: maker a fee -0.1, taker b fee 0.5
            #2 a buy 10 @ 100 btc FILLED
            #2 b sell 10 @ 100 btc FILLED
            #3 a buy 4 @ 100 perp OPEN
            #4 fill 1 4 @ 100: maker a fee 0.08, taker b fee 0.2
            #4 a buy 4 @ 100 perp FILLED
            #4 b sell 4 @ 100 perp FILLED
            #5 a buy 10 @ 95 perp OPEN
            #6 c buy 20 @ 100 perp OPEN
            #7 held 2 at 120
            #8 a rejected: MARKET_HELD
            #9 a rejected: MARKET_HELD
            #10 fill 2 4 @ 100: maker c fee 0.08, taker a fee 0.2
            #10 c buy 20 @ 100 perp PARTIALLY_FILLED 4/20
            #10 a sell 4 @ 100 perp FILLED
            #11 a rejected: MARKET_HELD
            #12 a buy 10 @ 95 perp CANCELLED USER_CANCEL by USER
            #12 a cancelled 1
            #14 a 9999.82 USDC 100 ETH; perp 0 cost 0; btc 10 cost 1000; AV 9999.82 IMR 100.5 MMR 50.5
            #14 b 9999.3 USDC 100 ETH; perp -4 cost -400; btc -10 cost -1000; AV 9999.3 IMR 140.7 MMR 70.7
            #14 c 9999.92 USDC 100 ETH; perp 4 cost 400; AV 9999.92 IMR 201 MMR 20.2
            #14 d 10000 USDC 100 ETH
            #14 fees 0.96 insurance 0
            #14 in all 40000 USDC"#]],
    );
}
