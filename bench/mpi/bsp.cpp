/// Supersteps of MPI, as one would write them: words with their places, sorted by destination; counts, then data. Rank 0 prints
/// "superstep_time WORDS SECONDS" lines.
#include "../messaging_plan.hpp"
#include "../superstep_plan.hpp"
#include "suites.hpp"

#include <mpi.h>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

using namespace p2pdvm::bench;

struct word {
  std::uint64_t place;
  double value;
};

class superstep_machine {
 public:
  superstep_machine() {
    MPI_Comm_rank(MPI_COMM_WORLD, &self_);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
    const auto p = static_cast<std::size_t>(ranks_);
    out_.resize(p);
    for (auto* v : {&send_counts_, &send_begins_, &receive_counts_, &receive_begins_}) v->resize(p);
    memory_.resize(supersteps::words_max * p);
  }
  [[nodiscard]] int self() const { return self_; }

  void superstep(int words) {
    for (auto& o : out_) o.clear();
    for (int i = 0; i < words; ++i)
      out_[static_cast<std::size_t>(supersteps::destination(self_, ranks_, i))].push_back({static_cast<std::uint64_t>(self_ * words + i), 1.0 + i});
    sent_.clear();
    for (std::size_t r = 0; r < out_.size(); ++r) {
      send_begins_[r] = static_cast<int>(sent_.size() * sizeof(word));
      send_counts_[r] = static_cast<int>(out_[r].size() * sizeof(word));
      sent_.insert(sent_.end(), out_[r].begin(), out_[r].end());
    }
    MPI_Alltoall(send_counts_.data(), 1, MPI_INT, receive_counts_.data(), 1, MPI_INT, MPI_COMM_WORLD);
    int total = 0;
    for (std::size_t r = 0; r < out_.size(); ++r) {
      receive_begins_[r] = total;
      total += receive_counts_[r];
    }
    received_.resize(static_cast<std::size_t>(total) / sizeof(word));
    MPI_Alltoallv(sent_.data(), send_counts_.data(), send_begins_.data(), MPI_BYTE, received_.data(), receive_counts_.data(),
                  receive_begins_.data(), MPI_BYTE, MPI_COMM_WORLD);
    for (const word& w : received_) memory_[w.place] = w.value;
  }

 private:
  int self_ = 0, ranks_ = 1;
  std::vector<std::vector<word>> out_;
  std::vector<word> sent_, received_;
  std::vector<int> send_counts_, send_begins_, receive_counts_, receive_begins_;
  std::vector<double> memory_;
};

}  // namespace

void measure_supersteps(bool quick) {
  superstep_machine machine;
  const supersteps::effort e = supersteps::effort_of(quick);
  for (const int words : supersteps::words) {
    std::vector<double> seconds;
    for (int sample = -1; sample < e.samples; ++sample) {
      const double begin = MPI_Wtime();
      for (int i = 0; i < e.supersteps; ++i) machine.superstep(words);
      if (sample >= 0) seconds.push_back((MPI_Wtime() - begin) / e.supersteps);
    }
    if (machine.self() == 0) std::printf("superstep_time %d %.9g\n", words, plan::median_of(seconds));
  }
}
