//! Accounts that go under, slowly and at once.

use super::check;
use expect_test::expect;

/// a, long 100 at 100 with 1,098. The fee is 1% of what is closed, MMR 5.05% of what is left; AV must come to MMR / 0.9.
/// At 93: AV 398 < 469.65; 40% leaves 398 - 37.2 >= 313.1. 40 @ 92.5: 1,098 - 300 - 37 = 761.
/// At 91: AV 221 < 275.73; 40% leaves 221 - 21.84 >= 183.82. 24 @ 90.5: 761 - 228 - 21.72 = 511.28.
/// At 88: AV 79.28 < 159.984; 80% leaves 79.28 - 25.344 >= 35.552. 28.8 @ 87.5: 511.28 - 360 - 25.2 = 126.08, AV 39.68 > 31.9968.
/// c paid 2 bps of 3,700 + 2,172 + 2,520 = 8,392, 1.6784; the fund earned 83.92; b has 9,995 + 1,200 on paper.
#[test]
fn an_account_is_liquidated_in_three_steps_and_keeps_what_is_left() {
    check(
        "insure 10000 | a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp
         c buy 40 @ 92.5 perp | c buy 24 @ 90.5 perp | c buy 30 @ 87.5 perp
         oracle perp 96 | due | wait 1s | oracle perp 93 | due | show a
         wait 1s | oracle perp 91 | due | show a
         wait 1s | oracle perp 88 | due | show all",
        expect![[r#"
            #1 0x1f credited 10000
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #4 a buy 100 @ 100 perp FILLED
            #4 b sell 100 @ 100 perp FILLED
            #5 c buy 40 @ 92.5 perp OPEN
            #6 c buy 24 @ 90.5 perp OPEN
            #7 c buy 30 @ 87.5 perp OPEN
            #12 fill 2 40 @ 92.5: maker c fee 0.74, taker a fee 0 pnl -300
            #12 c buy 40 @ 92.5 perp FILLED
            #12 a sell 40 @ 89.02 perp FILLED
            #12 liquidation of a: CLOSE 40%: sell 40/40 perp limit 89.02; fee 37
            #13 a 761 USDC 100 ETH; perp 60 cost 6000; AV 341 IMR 560.79 MMR 281.79
            #16 fill 3 24 @ 90.5: maker c fee 0.4344, taker a fee 0 pnl -228
            #16 c buy 24 @ 90.5 perp FILLED
            #16 a sell 24 @ 87.32 perp FILLED
            #16 liquidation of a: CLOSE 40%: sell 24/24 perp limit 87.32; fee 21.72
            #17 a 511.28 USDC 100 ETH; perp 36 cost 3600; AV 187.28 IMR 329.238 MMR 165.438
            #20 fill 4 28.8 @ 87.5: maker c fee 0.504, taker a fee 0 pnl -360
            #20 c buy 30 @ 87.5 perp PARTIALLY_FILLED 28.8/30
            #20 a sell 28.8 @ 85.8 perp FILLED
            #20 liquidation of a: CLOSE 80%: sell 28.8/28.8 perp limit 85.8; fee 25.2
            #21 a 126.08 USDC 100 ETH; perp 7.2 cost 720; AV 39.68 IMR 63.6768 MMR 31.9968
            #21 b 9995 USDC 100 ETH; perp -100 cost -10000; AV 11195 IMR 884.4 MMR 444.4
            #21 c 9998.3216 USDC 100 ETH; perp 92.8 cost 8392; AV 9772.7216 IMR 831.336 MMR 412.4032
            #21 d 10000 USDC 100 ETH
            #21 fees 8.6784 insurance 10083.92
            #21 in all 41100 USDC"#]],
    );
}

/// At 88, a has 1,098 - 1,200 = -102: bankrupt at 88 + 1.02 = 89.02. The fund's 500 would be 398 against IMR 884.4 for all of it. Closing n at 89.02
/// leaves it 398 + 1.02 n against 8.844 (100 - n): enough from n = 49.3106, so 49,311 lots. b and c weigh the same: 24,655.5 each,
/// and the odd lot is b's, whose address is lower. b earns 24.656 x 10.98 = 270.72288, c 24.655 x 10.98 = 270.7119.
/// The fund takes 50.689 at 88 for 4,460.632 and pays a's -102 + 1.02 x 49.311 = -51.70278: 448.29722, IMR 448.293516.
#[test]
fn a_bankrupt_account_larger_than_the_fund_is_shared_out_and_the_odd_lot_goes_by_address() {
    check(
        "insure 500 | a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 50 @ 100 perp | c sell 50 @ 100 perp
         oracle perp 96 | oracle perp 92 | oracle perp 88 | due | show all",
        expect![[r#"
            #1 0x1f credited 500
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 50 @ 100: maker a fee 1, taker b fee 2.5
            #4 a buy 100 @ 100 perp PARTIALLY_FILLED 50/100
            #4 b sell 50 @ 100 perp FILLED
            #5 fill 2 50 @ 100: maker a fee 1, taker c fee 2.5
            #5 a buy 100 @ 100 perp FILLED
            #5 c sell 50 @ 100 perp FILLED
            #9 fill 3 24.656 @ 89.02: maker b fee 0 pnl 270.72288, taker a fee 0 pnl -270.72288
            #9 fill 4 24.655 @ 89.02: maker c fee 0 pnl 270.7119, taker a fee 0 pnl -270.7119
            #9 liquidation of a: DELEVERAGE sell 49.311 perp @ 89.02: b 24.656, c 24.655
            #9 liquidation of a: TAKE_OVER left 0 fee 0 deficit 51.70278
            #10 a 0 USDC 100 ETH; perp 0 cost 0
            #10 b 10268.22288 USDC 100 ETH; perp -25.344 cost -2534.4; AV 10572.35088 IMR 224.142336 MMR 112.628736
            #10 c 10268.2119 USDC 100 ETH; perp -25.345 cost -2534.5; AV 10572.3519 IMR 224.15118 MMR 112.63318
            #10 d 10000 USDC 100 ETH
            #10 fees 7 insurance 448.29722; perp 50.689 cost 4460.632
            #10 in all 31600 USDC"#]],
    );
}

/// a, long 100 at 100 with 1,098, has AV 898 < IMR 984.9 at 98. Its bids go, the farther first; its position does not, and it can sell at
/// the bids: 60 @ 97.5 and 40 @ 97.2 for 5,850 + 3,888 = 9,738, a loss of 262, fee 4.869: 831.131.
/// c 10,000 - 1.17, AV + 30; d 10,000 - 0.7776, AV + 32; b 9,995, AV + 200. Fees 7 + 4.869 + 1.17 + 0.7776.
#[test]
fn an_account_below_initial_margin_loses_its_bids_and_closes_at_those_of_others() {
    check(
        "a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 100 @ 100 perp | a buy 1 @ 96 perp | a buy 5 @ 95 perp
         oracle perp 98 | c buy 60 @ 97.5 perp | d buy 40 @ 97.2 perp | due | show a | a buy 1 @ 97 perp
         a sell 100 @ 97.2 perp ioc | show all",
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 100 @ 100 perp OPEN
            #3 fill 1 100 @ 100: maker a fee 2, taker b fee 5
            #3 a buy 100 @ 100 perp FILLED
            #3 b sell 100 @ 100 perp FILLED
            #4 a buy 1 @ 96 perp OPEN
            #5 a buy 5 @ 95 perp OPEN
            #7 c buy 60 @ 97.5 perp OPEN
            #8 d buy 40 @ 97.2 perp OPEN
            #9 a buy 5 @ 95 perp CANCELLED MARGIN by RISK
            #9 a buy 1 @ 96 perp CANCELLED MARGIN by RISK
            #10 a 1098 USDC 100 ETH; perp 100 cost 10000; AV 898 IMR 984.9 MMR 494.9
            #11 a rejected: INSUFFICIENT_MARGIN
            #12 fill 2 60 @ 97.5: maker c fee 1.17, taker a fee 2.925 pnl -150
            #12 c buy 60 @ 97.5 perp FILLED
            #12 fill 3 40 @ 97.2: maker d fee 0.7776, taker a fee 1.944 pnl -112
            #12 d buy 40 @ 97.2 perp FILLED
            #12 a sell 100 @ 97.2 perp FILLED
            #13 a 831.131 USDC 100 ETH; perp 0 cost 0
            #13 b 9995 USDC 100 ETH; perp -100 cost -10000; AV 10195 IMR 984.9 MMR 494.9
            #13 c 9998.83 USDC 100 ETH; perp 60 cost 5850; AV 10028.83 IMR 590.94 MMR 296.94
            #13 d 9999.2224 USDC 100 ETH; perp 40 cost 3888; AV 10031.2224 IMR 393.96 MMR 197.96
            #13 fees 13.8166 insurance 0
            #13 in all 31100 USDC"#]],
    );
}
