#include "round_trips.hpp"

#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace p2pdvm::bench {

std::vector<place_source> place_sources(const settings& how) {
  std::vector<place_source> sources;
  sources.push_back({"planetlab", sim::latency_profile::planetlab, std::nullopt});
  if (how.latency_matrix.empty()) return sources;
  auto matrix = sim::latency_matrix::load(
      how.latency_matrix,
      how.matrix_in_seconds ? sim::latency_unit::seconds : sim::latency_unit::milliseconds);
  if (!matrix.ok()) throw std::runtime_error(matrix.error().message());
  const std::string name = how.latency_matrix.substr(how.latency_matrix.find_last_of('/') + 1);
  sources.push_back({name, sim::latency_profile::planetlab, std::move(*matrix)});
  return sources;
}

std::vector<std::uint64_t> seeds(const settings& how) {
  if (how.quick) return {1};
  return {1, 2, 3};
}

round_trips::round_trips(const place_source& source, std::size_t peers, std::uint64_t seed)
    : size_(peers), jitter_(sim::conditions_of(source.profile).jitter), times_(peers * peers) {
  sim::latency_map map = source.matrix ? sim::latency_map(*source.matrix, seed)
                                       : sim::latency_map(source.profile, seed);
  for (std::uint32_t i = 0; i < peers; ++i) {
    map.add_machine();
    for (std::uint32_t j = 0; j < i; ++j)
      times_[i * peers + j] = times_[j * peers + i] = to_seconds(map.round_trip(i, j));
  }
}

double round_trips::sample(std::size_t i, std::size_t j, random_generator& random) const {
  const double forth = random.unit();
  const double back = random.unit();
  return at(i, j) * (1 + jitter_ * (forth * forth + back * back) / 2);
}

coordinate_swarm::coordinate_swarm(const round_trips& world, std::uint64_t seed)
    : world_(world), random_(seed), peers_(world.size()), neighbours_(world.size()) {
  for (std::size_t i = 0; i < world.size(); ++i) {
    while (neighbours_[i].size() < neighbours) {
      const std::size_t j = random_.below(world.size());
      if (j != i) neighbours_[i].push_back(j);
    }
  }
}

std::size_t coordinate_swarm::whom_to_measure(std::size_t peer) {
  if (random_.chance(0.75)) return neighbours_[peer][random_.below(neighbours)];
  const std::size_t other = random_.below(world_.size() - 1);
  return other < peer ? other : other + 1;
}

void coordinate_swarm::round() {
  std::vector<std::size_t> order(peers_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  for (const std::size_t i : order) {
    const std::size_t j = whom_to_measure(i);
    const duration measured = from_seconds(world_.sample(i, j, random_));
    // What a peer says of itself went through a message.
    const auto told = overlay::unpack(overlay::pack(peers_[j].own()));
    peers_[i].measured(id_of(j), *told, measured, random_);
  }
}

std::vector<overlay::coordinate> coordinate_swarm::coordinates() const {
  std::vector<overlay::coordinate> all;
  for (const overlay::coordinate_tracker& p : peers_) all.push_back(p.own());
  return all;
}

double coordinate_swarm::error() const {
  std::vector<double> errors;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double actual = world_.at(i, j);
      const double predicted = overlay::distance(peers_[i].own(), peers_[j].own());
      errors.push_back(std::abs(predicted - actual) / actual);
    }
  }
  return median(std::move(errors));
}

node_id coordinate_swarm::id_of(std::size_t peer) {
  node_id id;
  std::memcpy(id.mutable_bytes().data(), &peer, sizeof peer);
  return id;
}

}  // namespace p2pdvm::bench
