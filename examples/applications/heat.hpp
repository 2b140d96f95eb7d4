/// Two-dimensional heat diffusion: blocks of rows, halo exchange, the same bytes on any number
/// of ranks.
#pragma once

#include "pgm.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::heat {

/// Fraction of a temperature difference that flows to a neighbour in one step; stable below 1/4.
inline constexpr double conductivity = 0.2;
inline constexpr std::size_t side_max = 16384;

/// Rows `first` … `first + count` of the whole plate, on one rank. Later ranks may have none.
using peal::block;
using peal::block_of;

/// Hot discs, a hot bar and a cold bar on a lukewarm plate.
[[nodiscard]] inline double built_in(std::size_t x, std::size_t y, std::size_t size) {
  const double scale = 1.0 / static_cast<double>(size);
  const double u = static_cast<double>(x) * scale;
  const double v = static_cast<double>(y) * scale;
  const auto disc = [&](double cu, double cv, double radius) {
    return (u - cu) * (u - cu) + (v - cv) * (v - cv) < radius * radius;
  };
  if (disc(0.3, 0.35, 0.12) || disc(0.72, 0.6, 0.08)) return 255.0;
  if (v > 0.8 && v < 0.86 && u > 0.1 && u < 0.6) return 220.0;
  if (v < 0.08 && u > 0.5) return 0.0;
  return 40.0;
}

/// This rank's rows with one halo row above and one below.
class plate {
 public:
  plate(std::size_t width, std::size_t height, block mine)
      : width_(width), height_(height), mine_(mine), now_(width * (mine.count + 2)), next_(now_) {}

  [[nodiscard]] std::vector<double>& values() noexcept { return now_; }
  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  [[nodiscard]] std::size_t rows() const noexcept { return mine_.count; }
  /// Row 0 and row `rows() + 1` are the halos.
  [[nodiscard]] std::span<double> row(std::size_t i) {
    return std::span(now_).subspan(i * width_, width_);
  }

  template <class At>
  void fill(At at) {
    for (std::size_t i = 1; i <= mine_.count; ++i) {
      for (std::size_t x = 0; x < width_; ++x) row(i)[x] = at(x, mine_.first + i - 1);
    }
  }
  /// Rows `from` … `to` of the next step; the plate's rim keeps its temperature.
  void advance(std::size_t from, std::size_t to) {
    for (std::size_t i = from; i <= to; ++i) {
      const std::size_t y = mine_.first + i - 1;
      const double* const c = &now_[i * width_];
      double* const out = &next_[i * width_];
      out[0] = c[0];
      out[width_ - 1] = c[width_ - 1];
      if (y == 0 || y + 1 == height_) {
        std::copy(c, c + width_, out);
        continue;
      }
      const double* const above = c - width_;
      const double* const below = c + width_;
      for (std::size_t x = 1; x + 1 < width_; ++x) {
        const double around = (above[x] + below[x]) + (c[x - 1] + c[x + 1]);
        out[x] = c[x] + conductivity * (around - 4.0 * c[x]);
      }
    }
  }
  void turn() { now_.swap(next_); }

 private:
  std::size_t width_;
  std::size_t height_;
  block mine_;
  std::vector<double> now_;
  std::vector<double> next_;
};

/// One step; neighbours' rows travel while the inner rows are computed.
inline task<> step(mpi::communicator& world, plate& p, int above, int below) {
  const std::size_t last = p.rows();
  if (last == 0) co_return;
  mpi::request from_above = world.irecv(p.row(0), above, 1);
  mpi::request from_below = world.irecv(p.row(last + 1), below, 2);
  mpi::request to_above = world.isend(p.row(1), above, 2);
  mpi::request to_below = world.isend(p.row(last), below, 1);
  if (last > 2) p.advance(2, last - 1);
  co_await mpi::wait_all(from_above, from_below, to_above, to_below);
  p.advance(1, 1);
  if (last > 1) p.advance(last, last);
  p.turn();
}

/// Result "output": the rows as a PGM file. Result "field": a hash of every row's doubles.
inline void hand_over(peal::rank& rank, plate& p, std::size_t height) {
  byte_vector image;
  if (rank.id() == 0) append(image, as_bytes(pgm::header(p.width(), height)));
  byte_vector hashes;
  for (std::size_t i = 1; i <= p.rows(); ++i) {
    append(image, pgm::grey(p.row(i).data(), p.width()));
    append(hashes, crypto::hash(std::as_bytes(p.row(i))).bytes());
  }
  rank.result("output", payload(std::move(image)));
  rank.result("field", payload(std::move(hashes)));
}

inline task<> body(peal::rank& rank) {
  mpi::communicator world(rank);
  const payload file = co_await rank.input("input");
  pgm::image start;
  start.width = start.height = rank.option<std::size_t>("size");
  if (!file.empty()) start = pgm::parse(file.view()).value();
  const auto steps = rank.option<std::uint64_t>("steps");
  if (start.width == 0 || start.width > side_max || start.height > side_max)
    error(errc::invalid_argument, "--size must be from 1 to " + std::to_string(side_max) +
                                      ", and an image no larger on either side").raise();

  plate p(start.width, start.height, block_of(start.height, rank.id(), rank.size()));
  p.fill([&](std::size_t x, std::size_t y) {
    return file.empty() ? built_in(x, y, start.width) : start.pixels[y * start.width + x];
  });
  std::uint64_t done = 0;
  // Any number of ranks can go on from that. The halos are no part of the field: each step brings them anew.
  rank.common("step", done);
  rank.distributed("field", p.values(), start.width * start.height, start.width, start.width);
  co_await rank.restore();

  const int next = rank.id() + 1;
  const bool last = next == rank.size() || block_of(start.height, next, rank.size()).count == 0;
  const int above = rank.id() > 0 ? rank.id() - 1 : mpi::no_rank;
  const int below = last ? mpi::no_rank : next;
  while (done < steps) {
    co_await step(world, p, above, below);
    ++done;
    co_await rank.safe_point();
  }
  hand_over(rank, p, start.height);
}

}  // namespace p2pdvm::heat
