#include "support/local_world.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>

using namespace p2pdvm;
using test::local_world;

namespace {

byte_vector joined(const std::vector<payload>& parts) {
  byte_vector all;
  for (const payload& p : parts) append(all, p.view());
  return all;
}

std::string text_of(const std::vector<byte_vector>& logs) {
  std::vector<std::vector<peal::output_frame>> frames;
  for (const byte_vector& log : logs) frames.push_back(peal::read_output_frames(log).value());
  const byte_vector merged = peal::merge_output(frames);
  return std::string(as_text(merged));
}

bool write(peal::output_log& log, std::uint64_t step, std::string_view text) { return log.append(step, as_bytes(text)); }

/// Ranks write by different interfaces, some of them nothing in some steps.
task<> writes(peal::rank& rank) {
  mpi::communicator world(rank);
  int step = 0;
  rank.state("step", step);
  co_await rank.restore();
  peal::output lines = world.output("lines");
  peal::output rare = rank.output("rare");
  while (step < 10) {
    if ((step + rank.id()) % 3 != 0) lines.write(std::to_string(step) + " from " + std::to_string(rank.id()) + ", ");
    if (step % 2 == 0) world.output("lines").write("and more\n");
    if (step == 7 && rank.id() == 1) rare.write(std::string(200'000, 'x'));
    ++step;
    co_await rank.safe_point();
  }
  lines.write("end\n");
}

task<> by_supersteps(peal::rank& rank) {
  bsp::world world(rank);
  int step = 0;
  rank.state("step", step);
  co_await rank.restore();
  while (step < 6) {
    world.output("steps").write(std::to_string(step) + "." + std::to_string(rank.id()) + " ");
    ++step;
    co_await world.safe_sync();
  }
}

task<> misuses(peal::rank& rank) {
  const std::string what = rank.option("what");
  if (what == "undeclared") (void)rank.output("undeclared");
  peal::output early = rank.output("early");
  if (what == "early") early.write("too early");
  co_await rank.restore();
  if (what == "much") {
    const byte_vector block(limits::output_bytes_max / 4);
    for (int i = 0; i < 4; ++i) early.write(block);
  }
}

std::string failure_of(const std::string& what) {
  return local_world(2, misuses, {{"what", what}}).failure();
}

}  // namespace

TEST_CASE("a step of all ranks stands before the next step of any of them") {
  peal::output_log a, b;
  REQUIRE(write(a, 0, "a0 "));
  REQUIRE(write(a, 1, "a1 "));
  REQUIRE(write(a, 1, "a1 again "));
  REQUIRE(write(b, 0, "b0 "));
  REQUIRE(write(b, 2, "b2 "));
  CHECK(text_of({joined(a.cut(epoch_number(0))), joined(b.cut(epoch_number(0)))}) == "a0 b0 a1 a1 again b2 ");
}

TEST_CASE("where ranks stand apart, what has committed comes first") {
  // Rank 0 is far ahead of rank 1, which goes on behind what the first checkpoint has of both.
  peal::output_log a, b;
  REQUIRE(write(a, 5, "a5 "));
  REQUIRE(write(b, 0, "b0 "));
  const byte_vector first_a = joined(a.cut(epoch_number(0))), first_b = joined(b.cut(epoch_number(0)));
  const std::string first = text_of({first_a, first_b});
  CHECK(first == "b0 a5 ");
  REQUIRE(write(b, 1, "b1 "));
  REQUIRE(write(a, 6, "a6 "));
  const byte_vector second_a = joined(a.cut(epoch_number(1))), second_b = joined(b.cut(epoch_number(1)));
  CHECK(text_of({second_a, second_b}) == first + "b1 a6 ");
  // Whoever has seen the first only needs what is behind it.
  CHECK(text_of({to_vector(byte_view(second_a).subspan(first_a.size())),
                 to_vector(byte_view(second_b).subspan(first_b.size()))}) == "b1 a6 ");
}

TEST_CASE("what an abandoned checkpoint cut goes into the next one unchanged") {
  peal::output_log log;
  REQUIRE(write(log, 1, "one "));
  (void)log.cut(epoch_number(0));
  REQUIRE(write(log, 2, "two "));
  const byte_vector abandoned = joined(log.cut(epoch_number(1)));  // epoch 2, say
  REQUIRE(write(log, 3, "three "));
  const byte_vector next = joined(log.cut(epoch_number(1)));
  CHECK(text_of({next}) == "one two three ");
  CHECK(to_vector(byte_view(next).first(abandoned.size())) == abandoned);
}

TEST_CASE("what ranks write behind their last safe points stands at the end") {
  // Rank 0 had returned when a checkpoint cut rank 1 at its last safe point.
  peal::output_log a, b;
  REQUIRE(write(a, 0, "a0 "));
  REQUIRE(write(b, 0, "b0 "));
  REQUIRE(write(a, 1, "a's end"));
  (void)a.cut(epoch_number(0), 1);
  (void)b.cut(epoch_number(0));
  REQUIRE(write(b, 1, "b's end"));
  const byte_vector all_a = joined(a.cut(epoch_number(1), 1)), all_b = joined(b.cut(epoch_number(1), 1));
  CHECK(text_of({all_a, all_b}) == "a0 b0 a's endb's end");
  const auto frames = peal::read_output_frames(all_a).value();
  REQUIRE(frames.size() == 2);
  CHECK(frames[0].after == epoch_number(0));
  CHECK(frames[1].after == peal::at_the_end);
  CHECK(frames[0].log_bytes() + frames[1].log_bytes() == all_a.size());
}

TEST_CASE("a log is the same after a restart, of whatever pieces") {
  random_generator random(5);
  peal::output_log log;
  std::string all;
  for (std::uint64_t step = 0; step < 40; ++step) {
    std::string text(random.below(20'000), static_cast<char>('a' + step % 26));
    all += text;
    REQUIRE(write(log, step, text));
    if (step % 3 != 0) continue;
    const auto parts = log.cut(epoch_number(step));
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) CHECK(parts[i].size() == limits::chunk_bytes);
    const byte_vector whole = joined(parts);
    CHECK(text_of({whole}) == all);
    std::vector<payload> pieces;
    for (std::size_t at = 0; at < whole.size();) {
      const std::size_t piece = std::min<std::size_t>(whole.size() - at, 1 + random.below(150'000));
      pieces.push_back(payload::copy_of(byte_view(whole).subspan(at, piece)));
      at += piece;
    }
    peal::output_log again;
    REQUIRE(again.restore(pieces).ok());
    const auto copied = again.cut(epoch_number(step));
    CHECK(joined(copied) == whole);
    for (std::size_t i = 0; i + 1 < copied.size(); ++i) CHECK(copied[i].size() == limits::chunk_bytes);
    REQUIRE(log.restore(pieces).ok());
  }
}

TEST_CASE("a cut copies no more than the end of a log") {
  peal::output_log log;
  REQUIRE(write(log, 0, std::string(1'000'000, 'x')));
  const auto first = log.cut(epoch_number(0));
  REQUIRE(write(log, 1, "y"));
  const auto second = log.cut(epoch_number(1));
  REQUIRE(second.size() == first.size());
  for (std::size_t i = 0; i + 1 < first.size(); ++i) CHECK(first[i].data() == second[i].data());
}

TEST_CASE("a log that does not read is refused") {
  peal::output_log log;
  REQUIRE(write(log, 3, "some text"));
  const byte_vector good = joined(log.cut(epoch_number(1)));
  REQUIRE(peal::read_output_frames(good).ok());
  for (std::size_t n = 1; n < good.size(); ++n) CHECK_FALSE(peal::read_output_frames(byte_view(good).first(n)).ok());
  byte_vector empty_frame = good;
  std::fill_n(empty_frame.begin() + 16, 4, std::byte{0});
  CHECK_FALSE(peal::read_output_frames(empty_frame).ok());
  byte_vector huge = good;
  std::fill_n(huge.begin() + 16, 4, std::byte{0xff});
  CHECK_FALSE(peal::read_output_frames(huge).ok());
}

TEST_CASE("outputs are the same from every cut") {
  for (const std::uint32_t ranks : {1u, 3u}) {
    local_world whole(ranks, writes);
    REQUIRE(whole.run());
    const std::string lines = whole.output("lines"), rare = whole.output("rare");
    CHECK(lines.ends_with("end\n"));
    CHECK(rare.size() == (ranks > 1 ? 200'000 : 0));
    for (std::uint64_t cut = 1; cut <= 10; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, writes);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      CHECK(first.output("lines") == lines);
      local_world second(ranks, writes, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(second.output("lines") == lines);
      CHECK(second.output("rare") == rare);
    }
  }
}

TEST_CASE("supersteps write in order") {
  local_world w(2, by_supersteps);
  REQUIRE(w.run());
  CHECK(w.output("steps") == "0.0 0.1 1.0 1.1 2.0 2.1 3.0 3.1 4.0 4.1 5.0 5.1 ");
}

TEST_CASE("misuse of outputs is explained in a sentence") {
  using Catch::Matchers::Contains;
  CHECK_THAT(failure_of("undeclared"), Contains("no output --undeclared"));
  CHECK_THAT(failure_of("early"), Contains("writes into its output 'early' before restore()"));
  CHECK_THAT(failure_of("much"), Contains("has written more than 256 MiB into its output 'early'"));
  CHECK(failure_of("nothing wrong").empty());
}
