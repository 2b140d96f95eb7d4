#pragma once

#include <p2pdvm/runtime/swarm_experiment.hpp>

#include <algorithm>
#include <span>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

/// What a sealed datagram adds to the overlay's bytes.
inline constexpr std::size_t sealed_extra_bytes =
    1 + link::datagram_header_bytes + crypto::tag_bytes;

class running_experiment {
 public:
  explicit running_experiment(const swarm_experiment& how)
      : how_(how), swarm_(how.swarm), random_(how.swarm.network.seed * 0x9e3779b97f4a7c15ull) {}

  swarm_results run() {
    swarm_.form(how_.settling);
    publish();
    const overlay::node_statistics before = swarm_.statistics();
    const std::uint64_t events = swarm_.network().events();
    const std::uint64_t sessions = swarm_.sessions_begun();
    const time_point begin = swarm_.now();
    end_ = begin + how_.measured;
    search_later(how_.lookups_per_second, [this] { look_up(); });
    search_later(how_.finds_per_second, [this] { find(); });
    double living = 0;
    constexpr int samples = 100;
    for (int i = 1; i <= samples; ++i) {
      swarm_.run_for(how_.measured / samples);
      for (std::size_t p = 0; p < swarm_.size(); ++p) living += swarm_.alive(p) ? 1 : 0;
      if (how_.progress) how_.progress(static_cast<double>(i) / samples);
    }
    results_.events = swarm_.network().events() - events;
    results_.sessions = swarm_.sessions_begun() - sessions;
    results_.virtual_seconds = to_seconds(how_.measured);
    results_.mean_living = living / samples;
    results_.statistics = swarm_.statistics();
    results_.statistics -= before;
    const double peer_seconds = results_.mean_living * results_.virtual_seconds;
    const auto messages = static_cast<double>(results_.statistics.datagrams_out);
    results_.messages_per_second = messages / peer_seconds;
    results_.bytes_per_second =
        (static_cast<double>(results_.statistics.bytes_out) + messages * sealed_extra_bytes) /
        peer_seconds;
    swarm_.run_for(std::chrono::seconds(30));  // what has begun ends
    for (search_outcomes* s : {&results_.lookups, &results_.finds}) close(*s);
    results_.digest = swarm_.network().digest();
    return std::move(results_);
  }

 private:
  /// The first bytes of an id, and which machine has it.
  using place = std::pair<std::uint64_t, std::size_t>;
  struct published {
    node_id target;
    public_key publisher;
  };

  [[nodiscard]] node_id random_id() {
    node_id id;
    for (std::byte& b : id.mutable_bytes()) b = static_cast<std::byte>(random_.below(256));
    return id;
  }

  void publish() {
    for (std::size_t i = 0; i < how_.records; ++i) {
      const auto who = swarm_.somebody(swarm_.now() - how_.grown_up);
      if (!who) continue;
      peer& p = swarm_.at(*who);
      constexpr unix_seconds lifetime = 24 * 3600;
      const unix_seconds expiry = swarm_.network().at(*who).clock().wall() + lifetime;
      const node_id target = random_id();
      p.publish(overlay::make_record(p.identity(), target, 1, expiry, byte_vector(100)),
                [](const result<std::size_t>&) {});
      records_.push_back({target, p.identity().key()});
      swarm_.run_for(std::chrono::milliseconds(20));
    }
    if (how_.records > 0) swarm_.run_for(std::chrono::seconds(30));
  }

  void search_later(double rate, std::function<void()> search) {
    if (rate <= 0) return;
    const duration pause = from_seconds(sim::draw_exponential(random_) / rate);
    if (swarm_.now() + pause >= end_) return;
    swarm_.network().call_at(swarm_.now() + pause, [this, rate, search] {
      search();
      search_later(rate, search);
    });
  }

  /// The nearest of those that were grown up then and live now.
  [[nodiscard]] std::optional<node_id> nearest(const node_id& target, time_point then) {
    if (ordered_sessions_ != swarm_.sessions_begun()) order_places();
    return nearest_among(places_, 0, target, then);
  }
  void order_places() {
    ordered_sessions_ = swarm_.sessions_begun();
    places_.clear();
    for (std::size_t i = 0; i < swarm_.size(); ++i) {
      places_.emplace_back(overlay::detail::id_word(swarm_.id(i), 0), i);
    }
    std::sort(places_.begin(), places_.end());
  }
  /// All of `range` agree in the first `bits` bits: those that agree with the target in the next
  /// one, too, are nearer than the others.
  [[nodiscard]] std::optional<node_id> nearest_among(std::span<const place> range, unsigned bits,
                                                     const node_id& target, time_point then) {
    constexpr std::size_t few = 4;
    if (range.size() <= few || bits == 64) return nearest_of(range, target, then);
    const std::uint64_t bit = std::uint64_t{1} << (63 - bits);
    const auto ones = std::partition_point(range.begin(), range.end(),
                                           [bit](const place& p) { return (p.first & bit) == 0; });
    const auto zeros = static_cast<std::size_t>(ones - range.begin());
    std::span<const place> near = range.first(zeros), far = range.subspan(zeros);
    if ((overlay::detail::id_word(target, 0) & bit) != 0) std::swap(near, far);
    const auto found = nearest_among(near, bits + 1, target, then);
    return found ? found : nearest_among(far, bits + 1, target, then);
  }
  [[nodiscard]] std::optional<node_id> nearest_of(std::span<const place> range,
                                                  const node_id& target, time_point then) {
    std::optional<node_id> best;
    for (const auto& [word, i] : range) {
      if (!swarm_.alive(i) || swarm_.since(i) + how_.grown_up > then) continue;
      if (!best || overlay::nearer(target, swarm_.id(i), *best)) best = swarm_.id(i);
    }
    return best;
  }

  /// A search that dies with its peer counts neither way.
  template <class Judge>
  auto counted(search_outcomes& into, std::size_t who, Judge judge) {
    return [this, &into, who, generation = swarm_.generation(who), begun = swarm_.now(),
            judge](const auto& found) {
      if (swarm_.generation(who) != generation || !swarm_.alive(who)) return;
      ++into.begun;
      if (!judge(found, begun)) {
        ++into.failed;
        return;
      }
      into.seconds.push_back(to_seconds(swarm_.now() - begun));
    };
  }

  void look_up() {
    const auto who = swarm_.somebody(swarm_.now() - how_.grown_up);
    if (!who) return;
    const node_id target = random_id();
    const node_id self = swarm_.id(*who);
    swarm_.at(*who).lookup(
        target, counted(results_.lookups, *who,
                        [this, target, self](const overlay::lookup_result& r, time_point begun) {
                          results_.lookups.hops += r.hops;
                          results_.lookups.queries += static_cast<double>(r.queries);
                          const auto right = nearest(target, begun);
                          if (!right || *right == self) return true;
                          if (r.nearest.empty()) return false;
                          const node_id got = crypto::node_id_of(r.nearest.front().key);
                          return got == *right || overlay::nearer(target, got, *right);
                        }));
  }

  void find() {
    const auto who = swarm_.somebody(swarm_.now() - how_.grown_up);
    if (!who || records_.empty()) return;
    const published& what = records_[static_cast<std::size_t>(random_.below(records_.size()))];
    swarm_.at(*who).find(
        what.target, what.publisher,
        counted(results_.finds, *who,
                [this](const result<overlay::found_record>& found, time_point) {
                  if (!found.ok()) return false;
                  results_.finds.hops += found->hops;
                  results_.finds.queries += static_cast<double>(found->queries);
                  return true;
                }));
  }

  static void close(search_outcomes& s) {
    std::sort(s.seconds.begin(), s.seconds.end());
    const double count = std::max<double>(1, static_cast<double>(s.seconds.size()));
    s.hops /= count;
    s.queries /= count;
  }

  const swarm_experiment& how_;
  simulated_swarm swarm_;
  random_generator random_;
  time_point end_{};
  std::vector<published> records_;
  std::vector<place> places_;  ///< sorted
  std::uint64_t ordered_sessions_ = 0;
  swarm_results results_;
};

}  // namespace detail

P2PDVM_DECL double search_outcomes::quantile(double share) const noexcept {
  if (seconds.empty()) return 0;
  const auto last = static_cast<double>(seconds.size() - 1);
  return seconds[static_cast<std::size_t>(last * share + 0.5)];
}

P2PDVM_DECL swarm_results run_swarm_experiment(const swarm_experiment& how) {
  return detail::running_experiment(how).run();
}

}  // namespace p2pdvm::runtime
