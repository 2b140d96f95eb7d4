#include "collective_models.hpp"

#include <p2pdvm/base/assert.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace p2pdvm::bench {

namespace {

struct transfer {
  std::size_t from;
  std::size_t to;
};

/// Ranks that go through rounds at their own pace: each sends as soon as it is ready, and is ready
/// for its next round when it has sent and received all of this one. An access link carries what a
/// rank sends, or receives, one after another at its full rate and without headers; the way between
/// begins to deliver while it is still being fed. Nothing is lost, and streams are at full speed at
/// once: all of it in favour of the algorithm.
class rounds {
 public:
  explicit rounds(const far_network& network)
      : network_(network),
        ready_(network.size(), 0),
        up_free_(network.size(), 0),
        down_free_(network.size(), 0) {}

  void next(std::vector<transfer> all, double bytes) {
    std::stable_sort(all.begin(), all.end(), [this](const transfer& a, const transfer& b) {
      return ready_[a.from] < ready_[b.from];
    });
    std::vector<double> after = ready_;
    for (const transfer& t : all) {
      const double begin = std::max(ready_[t.from], up_free_[t.from]);
      const double sent = begin + time_of_bytes(bytes, network_.link(t.from).up);
      up_free_[t.from] = sent;
      const double way = network_.one_way(t.from, t.to);
      const double received = std::max(down_free_[t.to], begin + way) +
                              time_of_bytes(bytes, network_.link(t.to).down);
      down_free_[t.to] = received;
      after[t.from] = std::max(after[t.from], sent);
      after[t.to] = std::max(after[t.to], std::max(received, sent + way));
    }
    ready_ = std::move(after);
  }
  [[nodiscard]] double end() const { return *std::max_element(ready_.begin(), ready_.end()); }

 private:
  [[nodiscard]] static double time_of_bytes(double bytes, double rate) { return rate > 0 ? bytes / rate : 0; }

  const far_network& network_;
  std::vector<double> ready_;
  std::vector<double> up_free_;
  std::vector<double> down_free_;
};

/// Every rank with the one whose number differs in the bit `distance`.
std::vector<transfer> exchange(std::size_t ranks, std::size_t distance) {
  std::vector<transfer> all;
  for (std::size_t i = 0; i < ranks; ++i) all.push_back({i, i ^ distance});
  return all;
}

std::vector<transfer> shift(std::size_t ranks, std::size_t distance) {
  std::vector<transfer> all;
  for (std::size_t i = 0; i < ranks; ++i) all.push_back({i, (i + distance) % ranks});
  return all;
}

}  // namespace

far_network::far_network(std::vector<double> round_trips, std::vector<access> links)
    : times_(std::move(round_trips)), links_(std::move(links)) {
  P2PDVM_ASSERT(times_.size() == links_.size() * links_.size());
  P2PDVM_ASSERT(!links_.empty() && (links_.size() & (links_.size() - 1)) == 0);
}

double far_network::relay_bound() const {
  double worst = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      double best = one_way(i, j);
      for (std::size_t k = 0; k < size(); ++k)
        if (k != i && k != j) best = std::min(best, one_way(i, k) + one_way(k, j));
      worst = std::max(worst, best);
    }
  }
  return worst;
}

double far_network::direct() const { return *std::max_element(times_.begin(), times_.end()) / 2; }

double far_network::dissemination() const {
  rounds r(*this);
  for (std::size_t d = 1; d < size(); d *= 2) r.next(shift(size(), d), 0);
  return r.end();
}

double far_network::recursive_doubling(double bytes) const {
  rounds r(*this);
  for (std::size_t d = 1; d < size(); d *= 2) r.next(exchange(size(), d), bytes);
  return r.end();
}

double far_network::binomial(double bytes) const {
  rounds r(*this);
  const auto towards_first = [this](std::size_t distance) {
    std::vector<transfer> all;
    for (std::size_t i = distance; i < size(); i += 2 * distance) all.push_back({i, i - distance});
    return all;
  };
  for (std::size_t d = 1; d < size(); d *= 2) r.next(towards_first(d), bytes);
  for (std::size_t d = size() / 2; d > 0; d /= 2) {
    auto back = towards_first(d);
    for (transfer& t : back) std::swap(t.from, t.to);
    r.next(std::move(back), bytes);
  }
  return r.end();
}

double far_network::rabenseifner(double bytes) const {
  rounds r(*this);
  for (std::size_t d = 1; d < size(); d *= 2) r.next(exchange(size(), d), bytes /= 2);
  for (std::size_t d = size() / 2; d > 0; d /= 2, bytes *= 2) r.next(exchange(size(), d), bytes);
  return r.end();
}

double far_network::ring(double bytes) const {
  rounds r(*this);
  for (std::size_t i = 0; i < 2 * (size() - 1); ++i)
    r.next(shift(size(), 1), bytes / static_cast<double>(size()));
  return r.end();
}

}  // namespace p2pdvm::bench
