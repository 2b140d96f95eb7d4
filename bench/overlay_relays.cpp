/// overlay: how many pairs of peers have a faster path through a relay that they find.
#include "overlay_coordinates.hpp"

#include "round_trips.hpp"

#include <p2pdvm/overlay/relay_choice.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace p2pdvm::bench {

namespace {

struct relay_figures {
  std::size_t pairs = 0;
  std::size_t probes = 0;
  std::vector<double> gains;  ///< saved share, of pairs with a faster path
};

/// Some peers seek paths to some others, knowing `known` relays each, chosen at random; a relay
/// knows its round trip to everybody.
class relay_case {
 public:
  relay_case(const place_source& source, std::size_t peers, std::uint64_t seed)
      : world_(source, peers, seed), random_(seed) {}

  relay_figures found(std::size_t sources, std::size_t destinations, std::size_t known) {
    relay_figures f;
    for (std::size_t i = 0; i < sources; ++i)
      seek(random_.below(world_.size()), destinations, known, f);
    return f;
  }

  /// Any gain at all, with full knowledge.
  relay_figures possible(std::size_t sources, std::size_t destinations) {
    relay_figures f;
    for (std::size_t i = 0; i < sources * destinations; ++i) {
      const std::size_t a = random_.below(world_.size());
      const std::size_t b = other_than(a);
      double best = world_.at(a, b);
      for (std::size_t r = 0; r < world_.size(); ++r) {
        if (r != a && r != b) best = std::min(best, world_.at(a, r) + world_.at(r, b));
      }
      count(f, world_.at(a, b), best);
    }
    return f;
  }

 private:
  std::size_t other_than(std::size_t peer) {
    const std::size_t other = random_.below(world_.size() - 1);
    return other < peer ? other : other + 1;
  }

  duration measure(std::size_t a, std::size_t b) {
    return from_seconds(world_.sample(a, b, random_));
  }

  static void count(relay_figures& f, double direct, double path) {
    ++f.pairs;
    if (path < direct) f.gains.push_back((direct - path) / direct);
  }

  void seek(std::size_t self, std::size_t destinations, std::size_t known, relay_figures& f) {
    const time_point now{};
    overlay::relay_choice choice;
    std::map<node_id, std::size_t> peers;
    const auto learn = [&](std::size_t peer) {
      peers.emplace(coordinate_swarm::id_of(peer), peer);
      choice.direct(now, coordinate_swarm::id_of(peer), measure(self, peer));
    };
    std::vector<std::size_t> relays, wanted;
    while (relays.size() < known) relays.push_back(other_than(self));
    while (wanted.size() < destinations) wanted.push_back(other_than(self));
    for (const std::size_t r : relays) learn(r);
    for (const std::size_t d : wanted) {
      learn(d);
      choice.follow(now, coordinate_swarm::id_of(d));
      for (const std::size_t r : relays) {
        if (r != d)
          choice.told(now, coordinate_swarm::id_of(r), coordinate_swarm::id_of(d), measure(r, d));
      }
    }
    while (const auto p = choice.next_probe(now)) {
      const std::size_t relay = peers.at(p->relay);
      const duration first = measure(self, relay);
      const duration second = measure(relay, peers.at(p->destination));
      choice.measured(now, p->relay, p->destination, first + second);
      ++f.probes;
    }
    for (const std::size_t d : wanted) {
      const auto path = choice.path_to(now, coordinate_swarm::id_of(d));
      const double direct = world_.at(self, d);
      if (!path || !path->relay) {
        count(f, direct, direct);
      } else {
        const std::size_t relay = peers.at(*path->relay);
        count(f, direct, world_.at(self, relay) + world_.at(relay, d));
      }
    }
  }

  round_trips world_;
  random_generator random_;
};

void add_figures(report& out, measurement m, const relay_figures& f) {
  const auto pairs = static_cast<double>(f.pairs);
  m.metric = "relay_share";
  m.unit = fraction_unit;
  m.value = static_cast<double>(f.gains.size()) / pairs;
  out.add(m);
  m.metric = "relay_gain";
  m.value = median(f.gains);
  if (f.probes > 0) m.parameters["probes_per_pair"] = static_cast<double>(f.probes) / pairs;
  out.add(m);
}

}  // namespace

void measure_relays(const settings& how, report& out) {
  const std::size_t sources = how.quick ? 2 : 200;
  const std::size_t destinations = how.quick ? 4 : 20;
  for (const place_source& source : place_sources(how)) {
    const std::size_t peers = how.quick ? 40 : source.matrix ? source.matrix->size() : 500;
    const auto root = static_cast<std::size_t>(std::sqrt(static_cast<double>(peers)));
    for (const std::uint64_t seed : seeds(how)) {
      relay_case one(source, peers, seed);
      measurement m;
      m.benchmark = "overlay";
      m.system = "p2pdvm";
      m.profile = source.name;
      m.parameters["peers"] = peers;
      m.parameters["seed"] = seed;
      m.parameters["processes"] = 1;
      for (const std::size_t known : {std::size_t{8}, root, 2 * root, peers - 1}) {
        m.parameters["relays_known"] = known;
        add_figures(out, m, one.found(sources, destinations, known));
      }
      m.system = "any gain";
      add_figures(out, m, one.possible(sources, destinations));
    }
  }
}

}  // namespace p2pdvm::bench
