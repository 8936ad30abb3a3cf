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

/// As above, but b, c and d are short 50, 30 and 20. Profit is 12% of cost for all; leverage at 88 is 4,400 / 10,597.5 = 0.415192, 2,640 / 10,358.5 =
/// 0.254863 and 1,760 / 10,239 = 0.171891. Weights 50 x 0.04982304, 30 x 0.03058356, 20 x 0.02062692, in all 3.8211972: of 49,311 lots
/// 32,147.31, 11,840.05 and 5,323.64. The lot left over is d's, whose remainder is the largest.
/// b 9,997.5 + 32.147 x 10.98, c 9,998.5 + 11.84 x 10.98, d 9,999 + 5.324 x 10.98.
#[test]
fn a_bankrupt_account_is_shared_out_by_weight_and_the_odd_lot_goes_to_the_largest_remainder() {
    check(
        "insure 500 | a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 50 @ 100 perp | c sell 30 @ 100 perp | d sell 20 @ 100 perp
         oracle perp 96 | oracle perp 92 | oracle perp 88 | due | show all",
        expect![[r#"
            #1 0x1f credited 500
            #2 a withdrew 8900 as 8900000000 units, id 1
            #3 a buy 100 @ 100 perp OPEN
            #4 fill 1 50 @ 100: maker a fee 1, taker b fee 2.5
            #4 a buy 100 @ 100 perp PARTIALLY_FILLED 50/100
            #4 b sell 50 @ 100 perp FILLED
            #5 fill 2 30 @ 100: maker a fee 0.6, taker c fee 1.5
            #5 a buy 100 @ 100 perp PARTIALLY_FILLED 80/100
            #5 c sell 30 @ 100 perp FILLED
            #6 fill 3 20 @ 100: maker a fee 0.4, taker d fee 1
            #6 a buy 100 @ 100 perp FILLED
            #6 d sell 20 @ 100 perp FILLED
            #10 fill 4 32.147 @ 89.02: maker b fee 0 pnl 352.97406, taker a fee 0 pnl -352.97406
            #10 fill 5 11.84 @ 89.02: maker c fee 0 pnl 130.0032, taker a fee 0 pnl -130.0032
            #10 fill 6 5.324 @ 89.02: maker d fee 0 pnl 58.45752, taker a fee 0 pnl -58.45752
            #10 liquidation of a: DELEVERAGE sell 49.311 perp @ 89.02: b 32.147, c 11.84, d 5.324
            #10 liquidation of a: TAKE_OVER left 0 fee 0 deficit 51.70278
            #11 a 0 USDC 100 ETH; perp 0 cost 0
            #11 b 10350.47406 USDC 100 ETH; perp -17.853 cost -1785.3; AV 10564.71006 IMR 157.891932 MMR 79.338732
            #11 c 10128.5032 USDC 100 ETH; perp -18.16 cost -1816; AV 10346.4232 IMR 160.60704 MMR 80.70304
            #11 d 10057.45752 USDC 100 ETH; perp -14.676 cost -1467.6; AV 10233.56952 IMR 129.794544 MMR 65.220144
            #11 fees 7 insurance 448.29722; perp 50.689 cost 4460.632
            #11 in all 31600 USDC"#]],
    );
}

/// Without a fund all 100 go at 89.02, each to its own size: b 50 x 10.98 = 549, c 329.4, d 219.6, and a, with 1,098, has nothing left and
/// owes nothing.
#[test]
fn without_a_fund_the_whole_position_is_shared_out_and_nobody_is_owed_anything() {
    check(
        "a withdraw 8900 USDC | a buy 100 @ 100 perp | b sell 50 @ 100 perp | c sell 30 @ 100 perp | d sell 20 @ 100 perp
         oracle perp 96 | oracle perp 92 | oracle perp 88 | due | show all",
        expect![[r#"
            #1 a withdrew 8900 as 8900000000 units, id 1
            #2 a buy 100 @ 100 perp OPEN
            #3 fill 1 50 @ 100: maker a fee 1, taker b fee 2.5
            #3 a buy 100 @ 100 perp PARTIALLY_FILLED 50/100
            #3 b sell 50 @ 100 perp FILLED
            #4 fill 2 30 @ 100: maker a fee 0.6, taker c fee 1.5
            #4 a buy 100 @ 100 perp PARTIALLY_FILLED 80/100
            #4 c sell 30 @ 100 perp FILLED
            #5 fill 3 20 @ 100: maker a fee 0.4, taker d fee 1
            #5 a buy 100 @ 100 perp FILLED
            #5 d sell 20 @ 100 perp FILLED
            #9 fill 4 50 @ 89.02: maker b fee 0 pnl 549, taker a fee 0 pnl -549
            #9 fill 5 30 @ 89.02: maker c fee 0 pnl 329.4, taker a fee 0 pnl -329.4
            #9 fill 6 20 @ 89.02: maker d fee 0 pnl 219.6, taker a fee 0 pnl -219.6
            #9 liquidation of a: DELEVERAGE sell 100 perp @ 89.02: b 50, c 30, d 20
            #10 a 0 USDC 100 ETH; perp 0 cost 0
            #10 b 10546.5 USDC 100 ETH; perp 0 cost 0
            #10 c 10327.9 USDC 100 ETH; perp 0 cost 0
            #10 d 10218.6 USDC 100 ETH; perp 0 cost 0
            #10 fees 7 insurance 0
            #10 in all 31100 USDC"#]],
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
