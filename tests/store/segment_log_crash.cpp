/// Crash states of random histories: nothing acknowledged is lost, reopening always works.
#include "log_model.hpp"
#include "crash_disk.hpp"
#include "support/test.hpp"

using namespace p2pdvm;
using log_model::state;

namespace {

/// Raise for a longer search.
constexpr std::uint64_t histories = 24;
constexpr std::size_t calls_per_history = 160;
constexpr std::size_t states_per_change = 1;

store::segment_log::options small() {
  store::segment_log::options o;
  o.segment_bytes = 2048;
  o.quota_bytes = 64 * 1024;
  o.reserve_bytes = 4096;
  o.salt = 99;
  return o;
}

constexpr crash::survival ways[] = {crash::survival::nothing, crash::survival::everything,
                                    crash::survival::prefix, crash::survival::some,
                                    crash::survival::torn};

class history {
 public:
  explicit history(std::uint64_t seed) : random_(seed), chaos_(seed + 1000) {
    disk_ = std::make_unique<crash::disk>();
    versions_.emplace_back();
    open();
  }

  void run() {
    for (std::size_t i = 0; i < calls_per_history; ++i) {
      step();
      const std::uint64_t dice = random_.below(40);
      if (dice < 8) sync();
      if (dice >= 4 && dice < 16) disk_->run(1 + static_cast<std::size_t>(random_.below(2)));
      const auto budget = static_cast<std::size_t>(random_.below(2000));
      if (dice >= 14 && dice < 22) (void)log_->compact(budget);
      if (dice == 38) restart();
      if (dice == 39) crash_and_go_on();
    }
    sync();
    disk_->run();
    REQUIRE(acked_ == versions_.size() - 1);
    REQUIRE(log_model::difference(*log_, versions_.back()) == "");
  }
  std::size_t states = 0;

 private:
  void open() {
    auto opened = store::segment_log::open(*disk_, "store", small());
    REQUIRE(opened.ok());
    log_ = std::move(*opened);
    disk_->after_change = [this] {
      for (std::size_t i = 0; i < states_per_change; ++i) check_crash();
    };
  }
  void step() {
    const auto c = log_model::random_call(random_, versions_.back());
    state next = versions_.back();
    log_model::make(next, c);
    versions_.push_back(std::move(next));
    if (!log_model::make(*log_, c)) versions_.pop_back();
    REQUIRE(log_model::difference(*log_, versions_.back()) == "");
  }
  void sync() {
    log_->sync([this, version = versions_.size() - 1](const result<>& outcome) {
      REQUIRE(outcome.ok());
      REQUIRE(version >= acked_);
      acked_ = version;
    });
  }
  /// The version, among those that may be there, that a reopened log holds.
  std::size_t find(store::segment_log& log) {
    std::string why;
    for (std::size_t v = versions_.size(); v-- > acked_;) {
      const std::string d = log_model::difference(log, versions_[v]);
      if (d.empty()) return v;
      why += "\n  version " + std::to_string(v) + ": " + d;
    }
    FAIL("a crash left none of the versions from " << acked_ << " on" << why);
    return 0;
  }
  void check_crash() {
    const auto how = ways[chaos_.below(std::size(ways))];
    const auto after = disk_->crashed(chaos_, how);
    ++states;
    auto opened = store::segment_log::open(*after, "store", small());
    INFO("survival " << static_cast<int>(how) << ", state " << states);
    REQUIRE(opened.ok());
    REQUIRE_FALSE((*opened)->damage_found());
    REQUIRE((*opened)->damaged().empty());
    (void)find(**opened);
  }
  void restart() {
    disk_->after_change = nullptr;
    log_.reset();
    disk_->syncs.clear();
    open();
    REQUIRE(find(*log_) == versions_.size() - 1);
    REQUIRE_FALSE(log_->damage_found());
  }
  void crash_and_go_on() {
    disk_->after_change = nullptr;
    auto after = disk_->crashed(chaos_, ways[chaos_.below(std::size(ways))]);
    log_.reset();
    disk_ = std::move(after);
    open();
    const std::size_t v = find(*log_);
    versions_ = {versions_[v]};
    acked_ = 0;
  }

  random_generator random_;
  random_generator chaos_;
  std::unique_ptr<crash::disk> disk_;
  std::unique_ptr<store::segment_log> log_;
  std::vector<state> versions_;
  std::size_t acked_ = 0;
};

}  // namespace

TEST_CASE("a crash at any moment leaves a version that is not older than the last sync") {
  std::size_t states = 0;
  for (std::uint64_t seed = 1; seed <= histories; ++seed) {
    INFO("seed " << seed);
    history h(seed);
    h.run();
    states += h.states;
  }
  CHECK(states > 3000);
}

TEST_CASE("a million crashes lose nothing that was acknowledged", "[.][long]") {
  std::size_t states = 0;
  for (std::uint64_t seed = histories + 1; states < 1'000'000; ++seed) {
    INFO("seed " << seed);
    history h(seed);
    h.run();
    states += h.states;
  }
}
