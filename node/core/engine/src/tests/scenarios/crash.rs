//! Flash crashes, trigger storms, books that the mark has left behind.

use super::{World, check, check_in, genesis};
use expect_test::expect;

/// d sells 40 into bids of 5 at 99, 95, 90 and, beyond the edge of the band (100 x 0.9), 89: 15 trade for 495 + 475 + 450 = 1,420, the rest ends.
/// Taker 1,420 x 5 bps = 0.71, maker 0.284; a paid 2 to enter, b 5. At a mark of 90, a would have 1,098 - 1,000 = 98 against MMR 454.5.
///
/// The book now says bid 89, ask 101, mid 95, last 90; the oracle still says 100. After 5.001 s the average is
/// 100 - 2 x 5,001/155,001 = 99.93547138 (a sample counts at most 2%), the median of it, 100 and 90. After 600 s more it is
/// 98.38709376: a has 1,098 - 161.290624 = 936.709376 > MMR; b 9,995 + 161.290624; c 9,999.716 + 15 x 98.38709376 - 1,420; d the reverse.
#[test]
fn a_crash_through_a_thin_book_ends_at_the_band_and_liquidates_nobody() {
    check(
        "a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         c buy 5 @ 99 perp | c buy 5 @ 95 perp | c buy 5 @ 90 perp | c buy 5 @ 89 perp | c sell 5 @ 101 perp
         d sell 40 @ market perp | show perp
         wait 5s | oracle perp 100 | due | show mark perp | show a
         wait 600s | oracle perp 100 | due | show mark perp | show all",
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 100 @ 100 perp OPEN
            #3 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #3 a buy 100 @ 100 perp FILLED
            #3 b sell 100 @ 100 perp FILLED
            #4 c buy 5 @ 99 perp OPEN
            #5 c buy 5 @ 95 perp OPEN
            #6 c buy 5 @ 90 perp OPEN
            #7 c buy 5 @ 89 perp OPEN
            #8 c sell 5 @ 101 perp OPEN
            #9 fill 2 5 @ 99: maker c fee 0.099, taker d fee 0.2475
            #9 c buy 5 @ 99 perp FILLED
            #9 fill 3 5 @ 95: maker c fee 0.095, taker d fee 0.2375
            #9 c buy 5 @ 95 perp FILLED
            #9 fill 4 5 @ 90: maker c fee 0.09, taker d fee 0.225
            #9 c buy 5 @ 90 perp FILLED
            #9 d sell 40 @ 90 perp CANCELLED 15/40 PRICE_BAND by ENGINE
            #10 bids [5@89] asks [5@101]
            #14 perp oracle 100 mark 99.93547138
            #15 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 1091.547138 IMR 1004.35148737 MMR 504.67413047
            #19 perp oracle 100 mark 98.38709376
            #20 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 936.709376 IMR 988.79029229 MMR 496.85482349
            #20 b 9995 USDC 100 ETH; perp -100 cost -10000; AV 10156.290624 IMR 988.79029229 MMR 496.85482349
            #20 c 9999.716 USDC 100 ETH; perp 15 cost 1420; AV 10055.5224064 IMR 197.75805846 MMR 74.52822353
            #20 d 9999.29 USDC 100 ETH; perp -15 cost -1420; AV 9943.4835936 IMR 148.31854385 MMR 74.52822353
            #20 fees 7.994 insurance 0
            #20 in all 31100 USDC"#]],
    );
}

/// a, b and c are long 100 each, against d; each has 100 stops of 1 at 98, placed in turn. The oracle goes to 97, so the edge is 87.3: of d's
/// bids 40 @ 97, 30 @ 90, 20 @ 88 trade, 50 @ 87 do not, and 210 stops end at the band. Oldest first, the fills go round:
/// a 14 @ 97, 10 @ 90, 6 @ 88 = 2,786; b and c 13, 10, 7 = 2,777; each 30 that cost 3,000. Fees at 5 bps: 1.393, 1.3885, 1.3885.
/// a 10,000 - 2 - 214 - 1.393 = 9,782.607; b and c 10,000 - 2 - 223 - 1.3885 = 9,773.6115.
/// d bought 90 for 8,340 that it had sold for 9,000: 10,000 - 15 + 660 - 1.668 = 10,643.332.
/// Fees: 3 x 2 + 15 + 1.393 + 2 x 1.3885 + 1.668 = 26.838.
#[test]
fn three_hundred_stops_fire_one_by_one_the_oldest_first_and_none_trades_beyond_the_band() {
    let mut rules = genesis();
    rules.limits.orders_per_account_market = 100;
    check_in(
        World::funded(rules),
        "a buy 100 @ 100 perp | b buy 100 @ 100 perp | c buy 100 @ 100 perp | d sell 300 @ 100 perp
         times 100 each abc sell 1 @ market perp stop=98
         d buy 40 @ 97 perp | d buy 30 @ 90 perp | d buy 20 @ 88 perp | d buy 50 @ 87 perp
         oracle perp 97 | tick | tick | tick | tick | due sum | show perp | show all",
        expect![[r#"
            #1 a buy 100 @ 100 perp OPEN
            #2 b buy 100 @ 100 perp OPEN
            #3 c buy 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker d fee 5
            #4 a buy 100 @ 100 perp FILLED
            #4 fill 2 100 @ 100: maker b fee 2, taker d fee 5
            #4 b buy 100 @ 100 perp FILLED
            #4 fill 3 100 @ 100: maker c fee 2, taker d fee 5
            #4 c buy 100 @ 100 perp FILLED
            #4 d sell 300 @ 100 perp FILLED
            #5 100x a sell 1 @ 0 perp UNTRIGGERED
            #5 100x b sell 1 @ 0 perp UNTRIGGERED
            #5 100x c sell 1 @ 0 perp UNTRIGGERED
            #6 d buy 40 @ 97 perp OPEN
            #7 d buy 30 @ 90 perp OPEN
            #8 d buy 20 @ 88 perp OPEN
            #9 d buy 50 @ 87 perp OPEN
            #11 a sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #11 fill 4 1 @ 97: maker d fee 0.0194 pnl 3, taker a fee 0.0485 pnl -3
            #11 d buy 40 @ 97 perp PARTIALLY_FILLED 1/40
            #11 a sell 1 @ 87.3 perp FILLED
            #12 b sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #12 fill 5 1 @ 97: maker d fee 0.0194 pnl 3, taker b fee 0.0485 pnl -3
            #12 d buy 40 @ 97 perp PARTIALLY_FILLED 2/40
            #12 b sell 1 @ 87.3 perp FILLED
            #13 c sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #13 fill 6 1 @ 97: maker d fee 0.0194 pnl 3, taker c fee 0.0485 pnl -3
            #13 d buy 40 @ 97 perp PARTIALLY_FILLED 3/40
            #13 c sell 1 @ 87.3 perp FILLED
            #14 a sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #14 fill 7 1 @ 97: maker d fee 0.0194 pnl 3, taker a fee 0.0485 pnl -3
            #14 d buy 40 @ 97 perp PARTIALLY_FILLED 4/40
            #14 a sell 1 @ 87.3 perp FILLED
            #15 99x b sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #15 12x fill 1 @ 97: maker d fee 0.0194 pnl 3, taker b fee 0.0485 pnl -3
            #15 35x d buy 40 @ 97 perp PARTIALLY_FILLED
            #15 29x b sell 1 @ 87.3 perp FILLED
            #15 99x c sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #15 12x fill 1 @ 97: maker d fee 0.0194 pnl 3, taker c fee 0.0485 pnl -3
            #15 29x c sell 1 @ 87.3 perp FILLED
            #15 98x a sell 1 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #15 12x fill 1 @ 97: maker d fee 0.0194 pnl 3, taker a fee 0.0485 pnl -3
            #15 28x a sell 1 @ 87.3 perp FILLED
            #15 1x d buy 40 @ 97 perp FILLED
            #15 10x fill 1 @ 90: maker d fee 0.018 pnl 10, taker b fee 0.045 pnl -10
            #15 29x d buy 30 @ 90 perp PARTIALLY_FILLED
            #15 10x fill 1 @ 90: maker d fee 0.018 pnl 10, taker c fee 0.045 pnl -10
            #15 10x fill 1 @ 90: maker d fee 0.018 pnl 10, taker a fee 0.045 pnl -10
            #15 1x d buy 30 @ 90 perp FILLED
            #15 7x fill 1 @ 88: maker d fee 0.0176 pnl 12, taker b fee 0.044 pnl -12
            #15 19x d buy 20 @ 88 perp PARTIALLY_FILLED
            #15 7x fill 1 @ 88: maker d fee 0.0176 pnl 12, taker c fee 0.044 pnl -12
            #15 6x fill 1 @ 88: maker d fee 0.0176 pnl 12, taker a fee 0.044 pnl -12
            #15 1x d buy 20 @ 88 perp FILLED
            #15 70x a sell 1 @ 87.3 perp CANCELLED PRICE_BAND by ENGINE
            #15 70x b sell 1 @ 87.3 perp CANCELLED PRICE_BAND by ENGINE
            #15 70x c sell 1 @ 87.3 perp CANCELLED PRICE_BAND by ENGINE
            #16 bids [50@87] asks []
            #17 a 9782.607 USDC 100 ETH; perp 70 cost 7000; AV 9572.607 IMR 682.395 MMR 342.895
            #17 b 9773.6115 USDC 100 ETH; perp 70 cost 7000; AV 9563.6115 IMR 682.395 MMR 342.895
            #17 c 9773.6115 USDC 100 ETH; perp 70 cost 7000; AV 9563.6115 IMR 682.395 MMR 342.895
            #17 d 10643.332 USDC 100 ETH; perp -210 cost -21000; AV 11273.332 IMR 2047.185 MMR 1028.685
            #17 fees 26.838 insurance 0
            #17 in all 40000 USDC"#]],
    );
}

/// a's bid of 108 was within the band of 100; at a mark of 97 the edges are 106.7 and 87.3. Who sells to it is never refused the better price:
/// 2 @ 108, taker 216 x 5 bps = 0.108, maker 0.0432. Orders rest beyond the band, but no taker buys there: b gets the 5 @ 106.7 for
/// 533.5 (0.26675, maker 0.1067) and not those at 106.8, although it would pay 107.
/// At 97: a 9,999.9568 + 194 - 216 = 9,977.9568, c 9,999.892 + 22, b 9,999.73325 - 48.5, d 9,999.8933 + 48.5.
#[test]
fn orders_that_the_band_has_left_behind_trade_at_their_price_and_no_taker_goes_after_them() {
    check(
        "a buy 5 @ 108 perp | oracle perp 97 | show mark perp | c sell 2 @ market perp | a cancel 1
         d sell 5 @ 106.7 perp | d sell 5 @ 106.8 perp | b buy 10 @ 107 perp | show perp | show all",
        expect![[r#"
            #1 a buy 5 @ 108 perp OPEN
            #3 perp oracle 97 mark 97
            #4 fill 1 2 @ 108: maker a fee 0.0432, taker c fee 0.108
            #4 a buy 5 @ 108 perp PARTIALLY_FILLED 2/5
            #4 c sell 2 @ 87.3 perp FILLED
            #5 a buy 5 @ 108 perp CANCELLED 2/5 USER_CANCEL by USER
            #5 a cancelled 1
            #6 d sell 5 @ 106.7 perp OPEN
            #7 d sell 5 @ 106.8 perp OPEN
            #8 fill 2 5 @ 106.7: maker d fee 0.1067, taker b fee 0.26675
            #8 d sell 5 @ 106.7 perp FILLED
            #8 b buy 10 @ 107 perp CANCELLED 5/10 PRICE_BAND by ENGINE
            #9 bids [] asks [5@106.8]
            #10 a 9999.9568 USDC 100 ETH; perp 2 cost 216; AV 9977.9568 IMR 19.497 MMR 9.797
            #10 b 9999.73325 USDC 100 ETH; perp 5 cost 533.5; AV 9951.23325 IMR 48.7425 MMR 24.4925
            #10 c 9999.892 USDC 100 ETH; perp -2 cost -216; AV 10021.892 IMR 19.497 MMR 9.797
            #10 d 9999.8933 USDC 100 ETH; perp -5 cost -533.5; AV 10048.3933 IMR 97.485 MMR 24.4925
            #10 fees 0.52465 insurance 0
            #10 in all 40000 USDC"#]],
    );
}
