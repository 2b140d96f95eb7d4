/// The messaging suite between ranks of an MPI library. Rank 0 prints "METRIC BYTES VALUE" lines.
#include "../messaging_plan.hpp"
#include "suites.hpp"

#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

using namespace p2pdvm::bench::plan;

class ranks {
 public:
  explicit ranks(bool quick) : quick_(quick) {
    MPI_Comm_rank(MPI_COMM_WORLD, &self_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }

  void everything() {
    for (const step& s : steps(size_)) measure(s);
  }

 private:
  static constexpr int window_max = 64;

  void measure(const step& s) {
    buffer_.assign(s.bytes, 0);
    double best = 0;
    for (const int window : windows_of(s)) best = std::max(best, measured(s, window));
    if (self_ == 0) std::printf("%s %zu %.9g\n", name_of(s.what), s.bytes, best);
  }

  double measured(const step& s, int window) {
    const effort e = effort_of(s.what, quick_);
    int count = e.count_min, samples = 0;
    for (;;) {
      double fastest = timed(s, count, window);
      for (int i = 1; i < trials; ++i) fastest = std::min(fastest, timed(s, count, window));
      int decided[] = {next_count(e, count, fastest), samples_of(e, fastest)};
      MPI_Bcast(decided, 2, MPI_INT, 0, MPI_COMM_WORLD);
      samples = decided[1];
      if (decided[0] == count) break;
      count = decided[0];
    }
    std::vector<double> values;
    for (int i = 0; i < samples; ++i)
      values.push_back(value_of(s.what, s.bytes, count, timed(s, count, window)));
    return median_of(values);
  }

  double timed(const step& s, int count, int window) {
    const double begin = MPI_Wtime();
    switch (s.what) {
      case operation::half_rtt: ping_pong(count); break;
      case operation::message_rate:
      case operation::bandwidth: stream(count, window); break;
      case operation::barrier_time:
        for (int i = 0; i < count; ++i) MPI_Barrier(MPI_COMM_WORLD);
        break;
      case operation::allreduce_time: {
        double mine = self_, sum = 0;
        for (int i = 0; i < count; ++i)
          MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        break;
      }
    }
    return MPI_Wtime() - begin;
  }

  void ping_pong(int count) {
    for (int i = 0; i < count; ++i) {
      if (self_ == 0) MPI_Send(buffer_.data(), length(), MPI_BYTE, 1, 0, MPI_COMM_WORLD);
      MPI_Recv(buffer_.data(), length(), MPI_BYTE, 1 - self_, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      if (self_ == 1) MPI_Send(buffer_.data(), length(), MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
  }

  /// One way, then a short answer to all of it.
  void stream(int count, int window) {
    if (window > 1) {
      stream_windows(count, window);
    } else {
      for (int i = 0; i < count; ++i) {
        if (self_ == 0)
          MPI_Send(buffer_.data(), length(), MPI_BYTE, 1, 0, MPI_COMM_WORLD);
        else
          MPI_Recv(buffer_.data(), length(), MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      }
    }
    char answer = 0;
    if (self_ == 0)
      MPI_Recv(&answer, 1, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    else
      MPI_Send(&answer, 1, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
  }

  void stream_windows(int count, int window) {
    MPI_Request under_way[window_max];
    for (int done = 0; done < count; done += window) {
      const int n = std::min(window, count - done);
      for (int i = 0; i < n; ++i) {
        if (self_ == 0)
          MPI_Isend(buffer_.data(), length(), MPI_BYTE, 1, 0, MPI_COMM_WORLD, &under_way[i]);
        else
          MPI_Irecv(buffer_.data(), length(), MPI_BYTE, 0, 0, MPI_COMM_WORLD, &under_way[i]);
      }
      MPI_Waitall(n, under_way, MPI_STATUSES_IGNORE);
    }
  }

  [[nodiscard]] int length() const { return static_cast<int>(buffer_.size()); }

  bool quick_;
  int self_ = 0;
  int size_ = 1;
  std::vector<char> buffer_;
};

}  // namespace

void measure_messaging(bool quick) { ranks(quick).everything(); }
