/// An adapter of one's own: a small task farm with its own vocabulary over a port.
#include <p2pdvm/p2pdvm.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace peal = p2pdvm::peal;

/// Rounds of work: everyone gets a number from rank 0, computes, and hands in what came out.
class farm final : public peal::adapter {
 public:
  explicit farm(peal::rank& rank) : rank_(rank), port_(rank.open("farm", *this)) {}

  /// One round: rank 0 hands out numbers and adds up the answers, the others compute.
  template <class Work>
  p2pdvm::task<> round(Work work) {
    inside_ = true;
    if (rank_.id() != 0) {
      const peal::message job = co_await port_.receive(0, give);
      const auto number = p2pdvm::wire::decode<std::int64_t>(job.body().view()).value();
      co_await port_.send(0, answer, p2pdvm::payload(p2pdvm::wire::encode(work(number))));
    } else {
      for (int r = 1; r < rank_.size(); ++r)
        co_await port_.send(r, give, p2pdvm::payload(p2pdvm::wire::encode(next_++)));
      for (int r = 1; r < rank_.size(); ++r) {
        const peal::message m = co_await port_.receive(peal::any_source, answer);
        sum_ += p2pdvm::wire::decode<std::int64_t>(m.body().view()).value();
      }
    }
    inside_ = false;
  }
  /// Of all answers so far; on rank 0.
  [[nodiscard]] std::int64_t sum() const { return sum_; }

  // What a snapshot must know of the farm, and when none can be taken.
  std::optional<std::string> cannot_cut() const override {
    if (inside_) return "a round of the farm is going on";
    return std::nullopt;
  }
  p2pdvm::byte_vector save() const override {
    return p2pdvm::wire::encode(std::pair<std::int64_t, std::int64_t>(next_, sum_));
  }
  void load(p2pdvm::byte_view saved) override {
    using pair = std::pair<std::int64_t, std::int64_t>;
    const pair both = p2pdvm::wire::decode<pair>(saved).value();
    next_ = both.first;
    sum_ = both.second;
  }

 private:
  static constexpr std::int64_t give = 1, answer = 2;
  peal::rank& rank_;
  peal::port port_;
  std::int64_t next_ = 1;
  std::int64_t sum_ = 0;
  bool inside_ = false;
};

p2pdvm::task<> body(peal::rank& rank) {
  farm squares(rank);
  int round = 0;
  rank.state("round", round);
  co_await rank.restore();
  while (round < 100) {
    co_await squares.round([](std::int64_t n) { return n * n; });
    ++round;
    co_await rank.safe_point();
  }
  if (rank.id() == 0) rank.result("output", std::to_string(squares.sum()) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("own_adapter", body);
  program.output("output", "the sum of the squares");
  return p2pdvm::main(argc, argv, program);
}
