/// Checkpoints that lie on the disks of peers that were killed: looked at, checked, moved, forked.
#include "../examples/applications/heat.hpp"
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/job_copy.hpp>
#include <p2pdvm/runtime/job_file.hpp>
#include <p2pdvm/runtime/saved_job.hpp>

#include <memory>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using runtime::saved_job;
using kind = runtime::chunk_trouble::kind;

constexpr std::uint32_t ranks = 6, steps = 400;

/// Numbers that change slowly from place to place, as in a simulation of something; halos are noise.
task<> smooth_body(peal::rank& rank) {
  mpi::communicator world(rank);
  const auto wanted = rank.option<std::uint64_t>("steps");
  std::vector<double> cells(rank.option<std::size_t>("cells"), 1000.0 * rank.id());
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  while (done < wanted) {
    const auto sum = co_await world.allreduce(done + static_cast<std::uint64_t>(rank.id()), mpi::plus());
    for (std::size_t i = 0; i < cells.size(); ++i)
      cells[i] += static_cast<double>(i / 16) / 64 + static_cast<double>(sum % 8);
    co_await rank.sleep(5ms);
    ++done;
    co_await rank.safe_point();
  }
  double all = 0;
  for (const double c : cells) all += c;
  rank.result("output", std::to_string(all));
}

peal::program smooth_program() {
  peal::program program("smooth", smooth_body);
  program.option("steps", "100", "how many").option("cells", "64", "numbers of a rank");
  return program;
}

/// Peers that were all killed after some commits.
struct killed_peers {
  explicit killed_peers(std::uint32_t peers) : killed_peers(small_program(halo), cluster_of(peers, ranks, steps, 20000)) {}
  killed_peers(std::uint32_t peers, peal::program what, const std::set<std::uint32_t>& uncompressed)
      : killed_peers(std::move(what), [&] {
          auto how = cluster_of(peers, ranks, steps, 20000);
          how.uncompressed = uncompressed;
          return how;
        }()) {}
  killed_peers(peal::program what, simulated_cluster::options how) : program(std::move(what)), world(program, how) {
    const std::uint32_t peers = how.peers;
    REQUIRE(world.run_to(event_kind::committed, 60s, 4 * peers));
    // What the next checkpoint made durable on the way has the record of this one before it.
    REQUIRE(world.run_to(event_kind::sealed, 60s));
    for (std::size_t i = 0; i < peers; ++i) world.crash(i);
    (void)world->run_until([&] { return !world->alive(peers - 1); }, 1s);
    for (std::size_t i = 0; i < peers; ++i) world->machine(i).restart();
  }
  std::vector<runtime::job_holder*> open(const std::vector<std::size_t>& which) {
    std::vector<runtime::job_holder*> list;
    for (const std::size_t i : which) {
      auto files = runtime::peer_files::open(world->machine(i).disk());
      INFO((files.ok() ? std::string() : files.error().message()));
      REQUIRE(files.ok());
      list.push_back(holders.emplace_back(std::move(*files)).get());
    }
    return list;
  }
  const peal::program program;
  observed_cluster world;
  std::vector<std::unique_ptr<runtime::job_holder>> holders;
};

/// Flips a bit in the body of one chunk's record, and says which chunk.
chunk_id spoil_a_chunk(host::disk& disk, const std::vector<chunk_id>& among) {
  const auto names = disk.list("store").value();
  for (const std::string& name : names) {
    if (!name.ends_with(".seg")) continue;
    auto file = disk.open("store/" + name, false).value();
    const std::uint64_t number = std::stoull(name);
    const auto header = store::segment::read_header(*file, number).value();
    store::segment::scanner scanner(*file, header.salt, {number, header.records_begin}, file->size());
    for (;;) {
      const auto found = scanner.next().value();
      if (!found) break;
      if (found->head.type != store::segment::record_type::chunk) continue;
      const chunk_id id(found->key);
      if (std::find(among.begin(), among.end(), id) == among.end()) continue;
      byte_vector byte(1);
      const std::uint64_t at = found->at.offset + found->bytes() - 32;
      REQUIRE(file->read(at, byte).ok());
      byte[0] ^= std::byte{4};
      REQUIRE(file->write(at, byte).ok());
      return id;
    }
  }
  FAIL("none of these chunks is on that disk");
  return {};
}

/// The chunks of an epoch that belong to a rank's cells.
std::vector<chunk_id> cells_of(saved_job& job, epoch_number epoch, std::uint32_t rank) {
  std::vector<chunk_id> ids;
  const auto m = job.manifest(epoch, rank_number(rank));
  REQUIRE(m.ok());
  for (const auto& s : (*m).sections) {
    if (s.name != "region/cells") continue;
    for (const auto& c : s.chunks) ids.push_back(c.id);
  }
  REQUIRE_FALSE(ids.empty());
  return ids;
}

/// All bytes of all files on a disk.
std::map<std::string, byte_vector> content(host::disk& disk) {
  std::map<std::string, byte_vector> all;
  const auto names = disk.list("store").value();
  for (const std::string& name : names)
    all[name] = disk.read_all("store/" + name, std::size_t{1} << 30).value();
  return all;
}

/// Runs the job in a peer's folder to its end, alone.
std::string resumed(const peal::program& program, sim::simulation& net, sim::machine& machine,
                    std::vector<runtime::event>* events = nullptr) {
  queue_context queue;
  driver_token token;
  std::optional<result<runtime::job_results>> outcome;
  runtime::peer::callbacks call;
  call.event = [&](const runtime::event& e) {
    if (events != nullptr) events->push_back(e);
  };
  call.ended = [&](const result<runtime::job_results>& r) { outcome = r; };
  call.may_go = [] {};
  std::unique_ptr<runtime::peer> p;
  {
    const std::lock_guard lock(token);
    p = std::make_unique<runtime::peer>(machine, queue, token, program, runtime::peer_setting(), call);
    REQUIRE(p->open().ok());
    const auto begun = p->resume();
    INFO((begun.ok() ? std::string() : begun.error().message()));
    REQUIRE(begun.ok());
  }
  while (!outcome && (queue.queue().drain(1u << 16) > 0 || net.step())) {
  }
  REQUIRE(outcome.has_value());
  INFO((outcome->ok() ? std::string() : outcome->error().message()));
  REQUIRE(outcome->ok());
  const std::lock_guard lock(token);
  p.reset();
  return runtime::digest_of(**outcome).hex();
}

TEST_CASE("a killed job's checkpoints are whole, on all disks together", "[saved]") {
  killed_peers killed(4);
  std::vector<std::map<std::string, byte_vector>> before;
  for (std::size_t i = 0; i < 4; ++i) before.push_back(content(killed.world->machine(i).disk()));
  auto job = saved_job::open(killed.open({0, 1, 2, 3}));
  REQUIRE(job.ok());
  CHECK(job->spec().ranks == ranks);
  const auto epochs = job->epochs();
  REQUIRE(epochs.size() == 2);
  CHECK(epochs[1] < epochs[0]);
  const auto summary = job->summarize(epochs[0]);
  CHECK(summary.bytes > ranks * 20000 * 8);
  CHECK(summary.new_bytes <= summary.bytes + summary.chunks);
  CHECK(summary.manifests_unreadable == 0);
  CHECK(summary.copies.begin()->first >= 3);
  CHECK(summary.when.has_value());
  const auto found = job->verify();
  CHECK(found.sound());
  CHECK(found.restorable() == epochs[0]);
  CHECK(found.copies >= 3 * summary.chunks);
  for (std::size_t i = 0; i < 4; ++i) CHECK(before[i] == content(killed.world->machine(i).disk()));
}

TEST_CASE("peers that compress and peers that do not have one job's checkpoints together", "[saved]") {
  std::string digest;
  for (const std::set<std::uint32_t>& off : std::vector<std::set<std::uint32_t>>{{}, {0, 2}, {0, 1, 2, 3}}) {
    killed_peers killed(4, smooth_program(), off);
    auto job = saved_job::open(killed.open({0, 1, 2, 3}));
    REQUIRE(job.ok());
    const auto summary = job->summarize(job->epochs().front());
    const auto found = job->verify();
    CHECK(found.sound());
    CHECK(found.restorable() == job->epochs().front());
    // How many of the ranks' cells lie there smaller than they are.
    std::size_t packed = 0, all = 0;
    for (std::uint32_t r = 0; r < ranks; ++r) {
      for (const chunk_id& id : cells_of(*job, job->epochs().front(), r)) {
        const auto copy = job->find(id);
        REQUIRE(copy.ok());
        ++all;
        if ((*copy).sealed.size() < (*copy).plain.size()) ++packed;
      }
    }
    CHECK((packed > 0) == (off.size() < 4));
    CHECK((packed < all) == !off.empty());
    CHECK((summary.stored_bytes < summary.bytes) == (off.size() < 4));
    for (std::size_t i = 0; i < 4; ++i) killed.world->restart(i);
    REQUIRE(killed.world->run(600s));
    killed.world.crashed.clear();
    const auto endings = killed.world.endings();
    REQUIRE(endings.size() == 1);
    CHECK(endings.begin()->size() == 64);
    if (digest.empty()) digest = *endings.begin();
    CHECK(*endings.begin() == digest);
  }
}

TEST_CASE("one holder of several cannot restore a checkpoint, and nothing is damaged", "[saved]") {
  killed_peers killed(5);
  auto job = saved_job::open(killed.open({2}));
  REQUIRE(job.ok());
  const auto found = job->verify();
  CHECK_FALSE(found.sound());
  CHECK_FALSE(found.restorable().has_value());
  CHECK(found.copies > 0);
  for (const auto& t : found.troubles) CHECK(t.what == kind::lost);
}

TEST_CASE("a flipped bit is named by chunk, rank, checkpoint and holder", "[saved]") {
  killed_peers killed(4);
  auto job = saved_job::open(killed.open({0, 1, 2, 3}));
  REQUIRE(job.ok());
  const epoch_number newest = job->epochs().front();
  const auto cells = cells_of(*job, newest, 3);
  host::disk& disk = killed.world->machine(1).disk();
  const chunk_id spoilt = spoil_a_chunk(disk, cells);
  auto again = saved_job::open(killed.open({0, 1, 2, 3}));
  REQUIRE(again.ok());
  const auto found = again->verify();
  REQUIRE(found.troubles.size() == 1);
  const auto& t = found.troubles.front();
  CHECK(t.what == kind::damaged);
  CHECK(t.chunk == spoilt);
  CHECK(t.holder == disk.describe(""));
  const runtime::chunk_use use{newest, rank_number(3), "region/cells"};
  CHECK(std::find(t.uses.begin(), t.uses.end(), use) != t.uses.end());
  CHECK_FALSE(found.sound());
  CHECK(found.restorable() == newest);  // others have good copies
}

TEST_CASE("with the only copy damaged the checkpoint before can be restored", "[saved]") {
  killed_peers killed(1);
  auto job = saved_job::open(killed.open({0}));
  REQUIRE(job.ok());
  const auto epochs = job->epochs();
  const auto cells = cells_of(*job, epochs[0], 2);
  auto older = cells_of(*job, epochs[1], 2);
  std::vector<chunk_id> only_new;
  for (const chunk_id& id : cells) {
    if (std::find(older.begin(), older.end(), id) == older.end()) only_new.push_back(id);
  }
  REQUIRE_FALSE(only_new.empty());
  const chunk_id spoilt = spoil_a_chunk(killed.world->machine(0).disk(), only_new);
  auto again = saved_job::open(killed.open({0}));
  REQUIRE(again.ok());
  const auto found = again->verify();
  CHECK(found.restorable() == epochs[1]);
  REQUIRE(found.troubles.size() == 2);
  CHECK(found.troubles[0].what == kind::damaged);
  CHECK(found.troubles[1].what == kind::lost);
  CHECK(found.troubles[1].chunk == spoilt);
  // A fork of the newest is refused with the place; one of the older goes on.
  sim::machine& target = killed.world->network().add_machine();
  runtime::copy_request what;
  const auto refused = runtime::copy_job(*again, what, target.disk(), target.entropy());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == errc::lost);
  CHECK(refused.error().message().find("rank 2, region/cells") != std::string::npos);
  what.epoch = epochs[1];
  auto forked = runtime::copy_job(*again, what, target.disk(), target.entropy());
  REQUIRE(forked.ok());
  forked->log.reset();
  CHECK(resumed(killed.program, killed.world->network(), target) == undisturbed(killed.program, ranks, steps, 20000));
}

TEST_CASE("a peer alone with a damaged checkpoint says so and goes back to the one before", "[saved]") {
  killed_peers killed(1);
  sim::machine& machine = killed.world->machine(0);
  std::vector<epoch_number> epochs;
  {
    auto job = saved_job::open(killed.open({0}));
    REQUIRE(job.ok());
    epochs = job->epochs();
    const auto older = cells_of(*job, epochs[1], 2);
    std::vector<chunk_id> only_new;
    for (const chunk_id& id : cells_of(*job, epochs[0], 2)) {
      if (std::find(older.begin(), older.end(), id) == older.end()) only_new.push_back(id);
    }
    (void)spoil_a_chunk(machine.disk(), only_new);
  }
  std::vector<runtime::event> events;
  CHECK(resumed(killed.program, killed.world->network(), machine, &events) ==
        undisturbed(killed.program, ranks, steps, 20000));
  std::vector<std::string> warnings;
  std::map<incarnation_number, std::set<epoch_number>> bases;
  for (const auto& e : events) {
    if (e.kind == event_kind::warning) warnings.push_back(e.text);
    if (e.kind == event_kind::rank_started) bases[e.incarnation].insert(e.epoch);
    if (e.kind == event_kind::committed) CHECK(e.epoch > epochs[0]);
  }
  std::string log;
  for (const auto& e : events) log += runtime::trace_line(0, e) + "\n";
  INFO(log);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find("checkpoint " + std::to_string(epochs[0].value()) + " of rank 2") == 0);
  CHECK(warnings[0].find("before, " + std::to_string(epochs[1].value())) != std::string::npos);
  // At first those that could read theirs, then all, and none from the beginning.
  REQUIRE_FALSE(bases.empty());
  CHECK(bases.begin()->second == std::set{epochs[0]});
  CHECK(bases.rbegin()->second == std::set{epochs[1]});
  CHECK(bases.size() == 2);
}

TEST_CASE("what changed between two checkpoints is counted by rank and name", "[saved]") {
  killed_peers killed(3);
  auto job = saved_job::open(killed.open({0, 1, 2}));
  REQUIRE(job.ok());
  const auto epochs = job->epochs();
  const auto changes = job->compare(epochs[1], epochs[0]);
  REQUIRE(changes.ok());
  std::set<std::uint32_t> seen;
  for (const auto& c : *changes) {
    if (c.part == "state/done") CHECK(c.bytes_changed > 0);
    if (c.part != "region/cells") continue;
    seen.insert(c.rank.value());
    CHECK(c.bytes_after == 20000 * 8);
    CHECK(c.bytes_before == c.bytes_after);
    CHECK(c.bytes_changed > 0);
    CHECK(c.bytes_changed <= c.bytes_after);
    CHECK(c.chunks == 3);
  }
  CHECK(seen.size() == ranks);
  const auto same = job->compare(epochs[0], epochs[0]);
  REQUIRE(same.ok());
  for (const auto& c : *same) {
    CHECK(c.bytes_changed == 0);
    CHECK(c.chunks_shared == c.chunks);
  }
  CHECK(job->compare(epochs[0].next(), epochs[0]).error().code() == errc::not_found);
}

TEST_CASE("a job that was exported, imported elsewhere and resumed ends with the same bytes", "[saved]") {
  killed_peers killed(3);
  auto job = saved_job::open(killed.open({0, 1, 2}));
  REQUIRE(job.ok());
  sim::machine& elsewhere = killed.world->network().add_machine();
  auto file = elsewhere.disk().open("job", true).value();
  store::file_sink to(*file);
  const auto written = runtime::export_job(*job, std::nullopt, to);
  REQUIRE(written.ok());
  CHECK(written->epoch == job->epochs().front());
  CHECK(written->bytes == file->size());
  store::file_source from(*file);
  auto holder = runtime::job_file::open(from, "job");
  REQUIRE(holder.ok());
  auto moved = saved_job::open({holder->get()});
  REQUIRE(moved.ok());
  CHECK(moved->epochs() == std::vector{written->epoch});
  CHECK(moved->verify().sound());
  sim::machine& target = killed.world->network().add_machine();
  auto copied = runtime::copy_job(*moved, {}, target.disk(), target.entropy());
  REQUIRE(copied.ok());
  CHECK(copied->id != job->spec().id);
  copied->log.reset();
  auto files = runtime::peer_files::open(target.disk());
  REQUIRE(files.ok());
  CHECK((*files)->job()->who.secret.bytes()[0] != job->secret().bytes()[0]);
  REQUIRE(job->date(written->epoch).has_value());
  CHECK((*files)->job()->dates == std::map{std::pair(written->epoch, *job->date(written->epoch))});
  const auto second = runtime::copy_job(*moved, {}, target.disk(), target.entropy());
  CHECK(second.error().code() == errc::wrong_job);  // an unfinished job is there
  files->reset();
  CHECK(resumed(killed.program, killed.world->network(), target) == undisturbed(killed.program, ranks, steps, 20000));
}

TEST_CASE("an exported file that is cut off, changed or of another format is refused", "[saved]") {
  killed_peers killed(1);
  auto job = saved_job::open(killed.open({0}));
  REQUIRE(job.ok());
  host::disk& disk = killed.world->network().add_machine().disk();
  {
    auto file = disk.open("job", true).value();
    store::file_sink to(*file);
    REQUIRE(runtime::export_job(*job, std::nullopt, to).ok());
  }
  const byte_vector good = disk.read_all("job", std::size_t{1} << 30).value();
  const auto open = [&](byte_view bytes) {
    REQUIRE(disk.replace("other", bytes).ok());
    auto file = disk.open("other", false).value();
    store::file_source from(*file);
    auto opened = runtime::job_file::open(from, "other");
    if (!opened.ok()) return opened.error().code();
    if ((*opened)->trouble().empty()) return errc::ok;
    // What is told of it does not depend on where it ends.
    auto damaged = saved_job::open({opened->get()});
    CHECK((damaged.ok() && !damaged->verify().sound()));
    return errc::corrupted;
  };
  CHECK(open(good) == errc::ok);
  random_generator random(5);
  for (int i = 0; i < 60; ++i) {
    INFO("cut " << i);
    CHECK(open(byte_view(good).first(random.below(good.size()))) != errc::ok);
    byte_vector changed = good;
    changed[random.below(changed.size())] ^= std::byte{16};
    CHECK(open(changed) != errc::ok);
  }
  byte_vector longer = good;
  longer.push_back(std::byte{0});
  CHECK(open(longer) == errc::corrupted);
  byte_vector newer = good;
  newer[16] = static_cast<std::byte>(runtime::job_file_version + 1);
  CHECK(open(newer) == errc::unsupported_version);
  CHECK(open({}) == errc::malformed);
}

TEST_CASE("a fork takes the program's other options, and only those that there are", "[saved]") {
  killed_peers killed(2);
  auto job = saved_job::open(killed.open({0, 1}));
  REQUIRE(job.ok());
  runtime::copy_request what;
  what.options = {{"cels", "3"}};
  CHECK(runtime::check_copy(*job, what).error().message().find("--cells") != std::string::npos);
  what.options.clear();
  what.ranks = ranks + 1;
  CHECK(runtime::check_copy(*job, what).error().message().find("'done' belongs to each rank (rank.state)") != std::string::npos);
  what.ranks = ranks;
  what.epoch = job->epochs().front().next();
  CHECK(runtime::check_copy(*job, what).error().code() == errc::not_found);
  what.epoch.reset();
  what.options = {{"steps", std::to_string(steps + 100)}};
  sim::machine& target = killed.world->network().add_machine();
  auto forked = runtime::copy_job(*job, what, target.disk(), target.entropy());
  REQUIRE(forked.ok());
  forked->log.reset();
  CHECK(resumed(killed.program, killed.world->network(), target) ==
        undisturbed(killed.program, ranks, steps + 100, 20000));
}

TEST_CASE("a fork with another number of ranks ends with the same bytes", "[saved]") {
  peal::program program("heat", heat::body);
  program.option("size", "40", "cells").option("steps", "3000", "steps").input("input", "none").output("output", "the image");
  constexpr std::uint32_t old = 3;
  auto how = cluster_of(3, old, 0);
  how.job.options = {{"size", "40"}, {"steps", "3000"}};
  killed_peers killed(program, how);
  auto alone = how;
  alone.peers = 1;
  alone.checkpoint_interval = duration::zero();
  observed_cluster whole(program, alone);
  REQUIRE(whole->run(1h));
  const std::string right = *whole.endings().begin();
  auto job = saved_job::open(killed.open({0, 1, 2}));
  REQUIRE(job.ok());
  for (std::uint32_t m = 1; m <= 2 * old; ++m) {
    INFO("then " << m << " ranks");
    sim::machine& target = killed.world->network().add_machine();
    runtime::copy_request what;
    what.ranks = m;
    auto forked = runtime::copy_job(*job, what, target.disk(), target.entropy());
    INFO((forked.ok() ? std::string() : forked.error().message()));
    REQUIRE(forked.ok());
    forked->log.reset();
    auto files = runtime::peer_files::open(target.disk());
    REQUIRE(files.ok());
    auto again = saved_job::open({files->get()});
    REQUIRE(again.ok());
    CHECK(again->spec().ranks == m);
    CHECK(again->verify().sound());
    files->reset();
    std::vector<runtime::event> events;
    CHECK(resumed(killed.program, killed.world->network(), target, &events) == right);
    const auto begun = std::count_if(events.begin(), events.end(), [&](const runtime::event& e) {
      return e.kind == event_kind::rank_started && e.epoch == job->epochs().front();
    });
    CHECK(begun == m);
  }
}

TEST_CASE("holders of different jobs are not taken together", "[saved]") {
  killed_peers one(1), other(1);
  // Two simulations with one seed make one job.
  sim::machine& target = other.world->network().add_machine();
  auto from = saved_job::open(other.open({0}));
  REQUIRE(from.ok());
  auto forked = runtime::copy_job(*from, {}, target.disk(), target.entropy());
  REQUIRE(forked.ok());
  forked->log.reset();
  auto files = runtime::peer_files::open(target.disk());
  REQUIRE(files.ok());
  auto list = one.open({0});
  list.push_back(files->get());
  CHECK(saved_job::open(list).error().code() == errc::wrong_job);
  CHECK(runtime::peer_files::open(one.world->network().add_machine().disk()).error().code() == errc::not_found);
}

}  // namespace
}  // namespace p2pdvm::test
