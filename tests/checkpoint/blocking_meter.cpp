#include "support/test.hpp"

#include <p2pdvm/checkpoint/blocking_meter.hpp>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace std::chrono_literals;

namespace {

const rank_number first(0), second(1);
const epoch_number one(1), two(2), three(3);
const time_point origin{100s};

}  // namespace

TEST_CASE("waiting for the others to say where to cut is part of what a cut costs") {
  blocking_meter meter;
  CHECK(meter.blocking() == duration::zero());
  meter.waits(first, origin);
  meter.cuts(first, origin + 200ms);
  CHECK(meter.cut(first, one, origin + 203ms) == 203ms);
  CHECK(meter.blocking() == 203ms);
}

TEST_CASE("ranks that are copied one after another block for all copies together") {
  blocking_meter meter;
  meter.cuts(first, origin);
  CHECK(meter.cut(first, one, origin + 5ms) == 5ms);
  meter.cuts(second, origin + 20ms);  // it has computed until then
  CHECK(meter.cut(second, one, origin + 27ms) == 7ms);
  CHECK(meter.blocking() == 12ms);
}

TEST_CASE("a wait without a cut costs nothing, nor does one that a rollback ended") {
  blocking_meter meter;
  meter.waits(first, origin);
  meter.passes(first);
  meter.waits(second, origin);
  meter.reset();
  meter.cuts(first, origin + 10s);
  meter.cuts(second, origin + 10s);
  CHECK(meter.cut(first, one, origin + 10s + 1ms) == 1ms);
  CHECK(meter.cut(second, one, origin + 10s + 1ms) == 1ms);
}

TEST_CASE("the measured blocking rises at once and falls by halves") {
  blocking_meter meter;
  const auto cut_for = [&](epoch_number epoch, duration time) {
    meter.cuts(first, origin);
    (void)meter.cut(first, epoch, origin + time);
    return meter.blocking();
  };
  CHECK(cut_for(one, 80ms) == 80ms);
  CHECK(cut_for(two, 1ms) == 40ms);
  CHECK(cut_for(three, 100ms) == 100ms);
}
