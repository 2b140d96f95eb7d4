#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/runtime/scenario_programs.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>

namespace p2pdvm::runtime {

namespace detail {

P2PDVM_DECL std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
  x ^= x >> 29;
  return x * 0x94d049bb133111ebu;
}

P2PDVM_DECL std::string hex_of(const std::vector<std::uint64_t>& cells) {
  std::uint64_t all = cells.size();
  for (const std::uint64_t c : cells) all = mixed(all, c);
  return std::to_string(all) + "\n";
}

/// Now and then a rank rests, on purpose not all of them alike, so that checkpoints fall in.
inline task<> rest(peal::rank& rank, std::uint64_t step) {
  if ((step + static_cast<std::uint64_t>(rank.id())) % 4 == 0)
    co_await rank.sleep(std::chrono::milliseconds(5));
}

P2PDVM_DECL std::vector<std::uint64_t> first_cells(const peal::rank& rank) {
  std::vector<std::uint64_t> cells(rank.option<std::size_t>("cells"));
  for (std::size_t i = 0; i < cells.size(); ++i)
    cells[i] = mixed(static_cast<std::uint64_t>(rank.id()), i);
  return cells;
}

P2PDVM_DECL task<> exchange_halos(peal::rank& rank, mpi::communicator& world,
                             std::vector<std::uint64_t>& cells, std::uint64_t step) {
  const int p = rank.size();
  const int left = (rank.id() + p - 1) % p;
  const int right = (rank.id() + 1) % p;
  std::array<std::uint64_t, 2> from_left{};
  std::array<std::uint64_t, 2> from_right{};
  const std::array<std::uint64_t, 2> to_left{cells.front(), step};
  const std::array<std::uint64_t, 2> to_right{cells.back(), step};
  mpi::request a = world.irecv(std::span(from_left), left, 1);
  mpi::request b = world.irecv(std::span(from_right), right, 2);
  mpi::request c = world.isend(std::span(to_left), left, 2);
  mpi::request d = world.isend(std::span(to_right), right, 1);
  co_await mpi::wait_all(a, b, c, d);
  const std::size_t where = static_cast<std::size_t>(step) % cells.size();
  cells[where] = mixed(cells[where], mixed(from_left[0], from_left[1]));
  cells.front() = mixed(cells.front(), from_left[0]);
  cells.back() = mixed(cells.back(), mixed(from_right[0], from_right[1]));
}

inline task<> halo_body(peal::rank& rank) {
  mpi::communicator world(rank);
  auto cells = first_cells(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  while (done < steps) {
    co_await exchange_halos(rank, world, cells, done);
    co_await rest(rank, done);
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(cells));
}

/// As in `pagerank`: everybody sends to some, and a fold over all decides what is sent next.
inline task<> superstep(peal::rank& rank, bsp::world& world, bsp::array<std::uint64_t>& inbox,
                        std::vector<std::uint64_t>& cells, std::uint64_t step) {
  const int p = rank.size();
  const auto me = static_cast<std::size_t>(rank.id());
  const std::size_t where = static_cast<std::size_t>(step) % cells.size();
  for (int to = 0; to < p; ++to) {
    const std::uint64_t value = mixed(cells[where], static_cast<std::uint64_t>(to));
    inbox.put(to, me, value);
    if ((value >> 7) % 3 == 0) world.send(to, static_cast<std::int64_t>(step), value ^ step);
  }
  const bsp::future<std::uint64_t> largest = world.maximum(cells[where]);
  co_await world.sync();
  cells[where] = mixed(cells[where], largest.value());
  for (const bsp::message& m : world.messages())
    cells[where] = mixed(cells[where], mixed(static_cast<std::uint64_t>(m.source()), m.value<std::uint64_t>()));
}

inline task<> supersteps_body(peal::rank& rank) {
  bsp::world world(rank);
  auto cells = first_cells(rank);
  std::vector<std::uint64_t> heard(static_cast<std::size_t>(rank.size()));
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  bsp::array<std::uint64_t> inbox(world, heard);
  rank.state("done", done);
  rank.region("cells", cells);
  rank.region("heard", heard);
  co_await rank.restore();
  while (done < steps) {
    // At the top: what came with the last superstep is there after a restart too.
    for (const bsp::message& m : world.messages())
      cells.front() = mixed(cells.front(), m.value<std::uint64_t>());
    co_await superstep(rank, world, inbox, cells, done);
    for (const std::uint64_t h : heard) cells.back() = mixed(cells.back(), h);
    world.send((rank.id() + 1) % rank.size(), 7, cells.back());
    co_await rest(rank, done);
    ++done;
    co_await world.safe_sync();
  }
  rank.result("output", hex_of(cells));
}

/// Both at once: halos by MPI inside supersteps.
inline task<> both_body(peal::rank& rank) {
  mpi::communicator world(rank);
  bsp::world steps_world(rank);
  auto cells = first_cells(rank);
  std::vector<std::uint64_t> heard(static_cast<std::size_t>(rank.size()));
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  bsp::array<std::uint64_t> inbox(steps_world, heard);
  rank.state("done", done);
  rank.region("cells", cells);
  rank.region("heard", heard);
  co_await rank.restore();
  while (done < steps) {
    co_await exchange_halos(rank, world, cells, done);
    co_await superstep(rank, steps_world, inbox, cells, done);
    for (const std::uint64_t h : heard) cells.back() = mixed(cells.back(), h);
    co_await rest(rank, done);
    ++done;
    co_await steps_world.safe_sync();
  }
  rank.result("output", hex_of(cells));
}

}  // namespace detail

P2PDVM_DECL const std::vector<std::string>& small_program_names() {
  static const std::vector<std::string> names = {"halo", "supersteps", "both"};
  return names;
}

P2PDVM_DECL peal::program small_program(const std::string& name) {
  constexpr peal::program::body_type bodies[] = {detail::halo_body, detail::supersteps_body,
                                                 detail::both_body};
  const auto& names = small_program_names();
  const auto found = std::find(names.begin(), names.end(), name);
  P2PDVM_ASSERT(found != names.end());
  peal::program program(name, bodies[found - names.begin()]);
  program.option("steps", "100", "how many").option("cells", "64", "numbers of a rank");
  return program;
}

}  // namespace p2pdvm::runtime
