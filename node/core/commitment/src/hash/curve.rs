//! Points of the STARK curve, y^2 = x^3 + x + b, for [`super::pedersen`]: additions that are right for every pair of
//! points, and sums of many pairs that share one inversion.

use super::field::Element;

/// A point in affine coordinates. The point at infinity is (0, 0), which is not on the curve: b is not 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Point {
    pub(super) x: Element,
    pub(super) y: Element,
}

impl Point {
    pub(super) const INFINITY: Point = Point { x: Element::ZERO, y: Element::ZERO };

    /// No point of the curve has y = 0: it would have order 2, and the order of the curve is odd.
    fn is_infinity(&self) -> bool {
        self.y.is_zero()
    }
}

/// What it takes to add two points: the numerator of the slope is only needed when there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    /// One of them is at infinity, or they are opposite: the sum is known.
    Known(Point),
    /// Different x: the chord.
    Chord,
    /// The same point: the tangent. It is never vertical, as the order of the curve is odd.
    Tangent,
}

impl Sum {
    #[inline(always)]
    fn of(a: &Point, b: &Point) -> Sum {
        if a.x != b.x && !a.is_infinity() && !b.is_infinity() {
            return Sum::Chord;
        }
        match (a.is_infinity(), b.is_infinity()) {
            (true, _) => Sum::Known(*b),
            (_, true) => Sum::Known(*a),
            _ if a.y == b.y => Sum::Tangent,
            _ => Sum::Known(Point::INFINITY),
        }
    }

    /// Denominator of the slope; 1 if there is no slope. Never 0.
    #[inline(always)]
    fn denominator(self, a: &Point, b: &Point) -> Element {
        match self {
            Sum::Chord => b.x.sub(&a.x),
            Sum::Tangent => a.y.double(),
            Sum::Known(_) => Element::ONE,
        }
    }

    #[inline(always)]
    fn finish(self, a: &Point, b: &Point, denominator_inverse: &Element) -> Point {
        let numerator = match self {
            Sum::Known(sum) => return sum,
            Sum::Chord => b.y.sub(&a.y),
            Sum::Tangent => tangent_numerator(&a.x),
        };
        let slope = numerator.mul(denominator_inverse);
        let x = slope.square().sub(&a.x).sub(&b.x);
        Point { x, y: slope.mul(&a.x.sub(&x)).sub(&a.y) }
    }
}

/// 3x^2 + 1.
fn tangent_numerator(x: &Element) -> Element {
    let square = x.square();
    square.double().add(&square).add(&Element::ONE)
}

/// Adds `others` to `points`, pair by pair, with one inversion for all of them (Montgomery's trick).
/// `scratch` is only kept for its memory.
pub(super) fn add_pairs(points: &mut [Point], others: &[Point], scratch: &mut Vec<(Element, Element)>) {
    assert_eq!(points.len(), others.len(), "points come in pairs");
    scratch.clear();
    scratch.reserve(points.len());
    let mut product = Element::ONE;
    for (a, b) in points.iter().zip(others) {
        let denominator = Sum::of(a, b).denominator(a, b);
        scratch.push((product, denominator));
        product = product.mul(&denominator);
    }
    let mut inverse = product.inverse();
    for ((a, b), (product_before, denominator)) in points.iter_mut().zip(others).zip(&*scratch).rev() {
        let denominator_inverse = inverse.mul(product_before);
        inverse = inverse.mul(denominator);
        *a = Sum::of(a, b).finish(a, b, &denominator_inverse);
    }
}

/// A running sum without inversions: x = X / ZZ, y = Y / ZZZ with ZZ^3 = ZZZ^2; infinity has ZZ = 0.
pub(super) struct Accumulator {
    x: Element,
    y: Element,
    zz: Element,
    zzz: Element,
}

impl Accumulator {
    pub(super) fn new(point: &Point) -> Accumulator {
        let z = if point.is_infinity() { Element::ZERO } else { Element::ONE };
        Accumulator { x: point.x, y: point.y, zz: z, zzz: z }
    }

    /// Adds a point. [hyperelliptic.org/EFD, shortw xyzz: madd-2008-s, mdbl-2008-s-1]
    pub(super) fn add(&mut self, point: &Point) {
        if point.is_infinity() {
            return;
        }
        if self.zz.is_zero() {
            *self = Accumulator::new(point);
            return;
        }
        let p = point.x.mul(&self.zz).sub(&self.x);
        let r = point.y.mul(&self.zzz).sub(&self.y);
        if p.is_zero() {
            *self = if r.is_zero() { Accumulator::twice(point) } else { Accumulator::new(&Point::INFINITY) };
            return;
        }
        let pp = p.square();
        let ppp = p.mul(&pp);
        let q = self.x.mul(&pp);
        self.x = r.square().sub(&ppp).sub(&q.double());
        self.y = r.mul(&q.sub(&self.x)).sub(&self.y.mul(&ppp));
        self.zz = self.zz.mul(&pp);
        self.zzz = self.zzz.mul(&ppp);
    }

    fn twice(point: &Point) -> Accumulator {
        let u = point.y.double();
        let v = u.square();
        let w = u.mul(&v);
        let s = point.x.mul(&v);
        let m = tangent_numerator(&point.x);
        let x = m.square().sub(&s.double());
        Accumulator { x, y: m.mul(&s.sub(&x)).sub(&w.mul(&point.y)), zz: v, zzz: w }
    }

    /// The affine x; 0 for infinity.
    pub(super) fn affine_x(&self) -> Element {
        self.x.mul(&self.zz.inverse())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pedersen::SHIFT;
    use super::*;

    fn add(a: Point, b: Point) -> Point {
        let mut sums = [a];
        add_pairs(&mut sums, &[b], &mut vec![]);
        sums[0]
    }

    fn negative(point: Point) -> Point {
        Point { y: Element::ZERO.sub(&point.y), ..point }
    }

    /// 0 to `count` - 1 times the shift point, each by one addition to the one before.
    fn multiples(count: usize) -> Vec<Point> {
        std::iter::successors(Some(Point::INFINITY), |last| Some(add(*last, SHIFT.point()))).take(count).collect()
    }

    #[test]
    fn addition_is_right_for_equal_opposite_and_infinite_points() {
        let multiples = multiples(24);
        for (i, a) in multiples.iter().enumerate() {
            for (j, b) in multiples.iter().enumerate().take(12) {
                let mut running = Accumulator::new(a);
                running.add(b);
                if i + j < multiples.len() {
                    assert_eq!(add(*a, *b), multiples[i + j], "{i} + {j}");
                    assert_eq!(running.affine_x(), multiples[i + j].x, "{i} + {j}, running");
                }
                let difference = if i >= j { multiples[i - j] } else { negative(multiples[j - i]) };
                assert_eq!(add(*a, negative(*b)), difference, "{i} - {j}");
                let mut running = Accumulator::new(a);
                running.add(&negative(*b));
                assert_eq!(running.affine_x(), difference.x, "{i} - {j}, running");
            }
        }
    }

    #[test]
    fn a_running_sum_goes_on_after_every_exceptional_case() {
        let multiples = multiples(64);
        let one = SHIFT.point();
        // 1, doubled to 2, back over 1 to infinity, further to -1 ..., in steps of one point; then doubles of what it holds.
        let mut running = Accumulator::new(&one);
        let mut at = 1i32;
        for step in [1, -1, -1, -1, 1, 1, 1, 1, 3, 6, -12, 5, -5, 10, 10, 20, -20, -20, 0, 7] {
            let by = multiples[usize::try_from(i32::abs(step)).unwrap()];
            running.add(&if step < 0 { negative(by) } else { by });
            at += step;
            assert_eq!(running.affine_x(), multiples[usize::try_from(at.abs()).unwrap()].x, "at {at}");
        }
    }

    #[test]
    fn exceptional_pairs_do_not_disturb_their_neighbours() {
        let multiples = multiples(24);
        let (infinity, one) = (Point::INFINITY, SHIFT.point());
        let pairs = [
            (multiples[2], multiples[3], multiples[5]),
            (one, negative(one), infinity),
            (infinity, infinity, infinity),
            (multiples[7], multiples[7], multiples[14]),
            (infinity, multiples[4], multiples[4]),
            (multiples[4], infinity, multiples[4]),
            (multiples[11], multiples[12], multiples[23]),
        ];
        let mut sums = pairs.map(|(a, _, _)| a);
        add_pairs(&mut sums, &pairs.map(|(_, b, _)| b), &mut vec![]);
        assert_eq!(sums, pairs.map(|(_, _, sum)| sum));
    }
}
