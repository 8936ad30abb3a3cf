//! Orders whose reason goes away.

use super::check;
use expect_test::expect;

/// a, long 10, offers 4 @ 101, 3 @ 102, 3 @ 103, all reduce-only, and sells 5 @ 100.5 beside them: 5 are left to reduce, so the two most passive go.
/// Then it sells 8 @ 100.8 and is short 3: the last one goes too.
/// a 10,000 - 0.2 + 2.5 - 0.1005 + 4 - 0.16128 = 10,006.03822, short 3 for 302.4; b 10,000 - 0.5; c 10,000 - 0.25125 - 0.4032, long 13 for
/// 1,308.9. Fees 0.2 + 0.5 + 0.1005 + 0.25125 + 0.16128 + 0.4032 = 1.61623.
#[test]
fn reduce_only_orders_go_the_most_passive_first_as_the_position_shrinks_and_all_when_it_turns() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp | a sell 4 @ 101 perp ro | a sell 3 @ 102 perp ro | a sell 3 @ 103 perp ro
         a sell 5 @ 100.5 perp | c buy 5 @ 100.5 perp | show perp | a sell 8 @ 100.8 perp | c buy 8 @ 100.8 perp | show perp | show all",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #3 a sell 4 @ 101 perp OPEN
            #4 a sell 3 @ 102 perp OPEN
            #5 a sell 3 @ 103 perp OPEN
            #6 a sell 5 @ 100.5 perp OPEN
            #7 fill 2 5 @ 100.5: maker a fee 0.1005 pnl 2.5, taker c fee 0.25125
            #7 a sell 5 @ 100.5 perp FILLED
            #7 c buy 5 @ 100.5 perp FILLED
            #7 a sell 3 @ 103 perp CANCELLED REDUCE_ONLY by RISK
            #7 a sell 3 @ 102 perp CANCELLED REDUCE_ONLY by RISK
            #8 bids [] asks [4@101]
            #9 a sell 8 @ 100.8 perp OPEN
            #10 fill 3 8 @ 100.8: maker a fee 0.16128 pnl 4, taker c fee 0.4032
            #10 a sell 8 @ 100.8 perp FILLED
            #10 c buy 8 @ 100.8 perp FILLED
            #10 a sell 4 @ 101 perp CANCELLED REDUCE_ONLY by RISK
            #11 bids [] asks []
            #12 a 10006.03822 USDC 100 ETH; perp -3 cost -302.4; AV 10008.43822 IMR 30.15 MMR 15.15
            #12 b 9999.5 USDC 100 ETH; perp -10 cost -1000; AV 9999.5 IMR 100.5 MMR 50.5
            #12 c 9999.34555 USDC 100 ETH; perp 13 cost 1308.9; AV 9990.44555 IMR 130.65 MMR 65.65
            #12 d 10000 USDC 100 ETH
            #12 fees 1.61623 insurance 0
            #12 in all 40000 USDC"#]],
    );
}
