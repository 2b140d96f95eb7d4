/// What the project promises of checkpoints on disks, each in one simulated run.
#include "runtime/cluster.hpp"

#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <map>
#include <set>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

task<> one_chunk_body(peal::rank& rank) {
  std::vector<std::uint64_t> cells = first_cells(rank);
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  while (done < 40) {
    cells[done] = mixed(cells[done], done);
    co_await rank.sleep(std::chrono::milliseconds(10));
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(cells));
}

constexpr std::uint64_t chunk = limits::chunk_bytes, copies = 3;
constexpr std::uint32_t cells_of_a_rank = 64 * chunk / 8;

simulated_cluster::options eight_large_ranks() {
  auto how = cluster_of(8, 8, 0, cells_of_a_rank);
  how.job.options = {{"cells", std::to_string(cells_of_a_rank)}};
  how.job.replicas = copies;
  how.network.conditions = sim::conditions_of(sim::latency_profile::lan);
  return how;
}

peal::program one_chunk_program() {
  peal::program program("one chunk", one_chunk_body);
  program.option("cells", "", "numbers of a rank");
  return program;
}

/// Bytes sent for each epoch's copy of each rank, epochs in order.
std::map<epoch_number, std::map<std::uint32_t, std::uint64_t>> drains_of(observed_cluster& world) {
  std::map<epoch_number, std::map<std::uint32_t, std::uint64_t>> drains;
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::drained)
      drains[s.what.epoch][s.what.rank->value()] = s.what.count;
  }
  return drains;
}

TEST_CASE("a changed chunk costs at most two, and the first snapshot its replicas",
          "[promises]") {
  const auto program = one_chunk_program();
  observed_cluster world(program, eight_large_ranks());
  REQUIRE(world->run(5min));
  const auto drains = drains_of(world);
  REQUIRE(drains.size() >= 4);
  for (const auto& [epoch, ranks] : drains) {
    CHECK(ranks.size() == 8);
    for (const auto& [rank, sent] : ranks) {
      INFO("epoch " << epoch.value() << " rank " << rank << " sent " << sent);
      if (epoch == drains.begin()->first) {
        CHECK(sent >= copies * 64 * chunk);
        CHECK(sent <= copies * (64 * chunk + 64 * chunk / 16));
      } else if (epoch != drains.rbegin()->first) {
        CHECK(sent >= copies * chunk);
        CHECK(sent <= copies * 2 * chunk);
      } else {  // when the program has returned, nothing need have changed but the result
        CHECK(sent <= copies * 2 * chunk);
      }
    }
  }
}

using stored_chunks = std::map<chunk_id, std::uint64_t>;

/// Sealed bytes of an epoch's chunks that a log can really read.
stored_chunks readable(store::segment_log& log, const store::pin& snapshot) {
  stored_chunks found;
  for (const chunk_id& id : log.pinned(snapshot)) {
    if (const auto bytes = log.get(id); bytes.ok()) found[id] = bytes->size();
  }
  return found;
}

/// At most one and a half times replicas / holders of the whole.
bool within_share(std::uint64_t share, std::uint64_t whole) {
  constexpr std::uint64_t holders = 8;
  return share * holders * 2 <= 3 * copies * whole;
}

TEST_CASE("each of eight disks has its share of the newest snapshot and little more",
          "[promises]") {
  const auto program = one_chunk_program();
  observed_cluster world(program, eight_large_ranks());
  REQUIRE(world.run_to(event_kind::committed, 60s, 8 * 3));
  const checkpoint::job_record record = *world.record();
  const store::pin newest{record.job, record.incarnation, record.committed.epoch};
  const store::pin before{record.job, record.incarnation, record.previous.epoch};
  const store::chunk_codec codec(world->at(0).current_job()->secret());
  for (std::size_t i = 0; i < 8; ++i) world.crash(i);
  (void)world->run_until([&] { return !world->alive(7); }, 1s);
  stored_chunks snapshot, previous;
  std::map<chunk_id, std::size_t> held;
  std::vector<stored_chunks> disks;
  std::vector<store::manifest> manifests(8);
  for (std::size_t i = 0; i < 8; ++i) {
    REQUIRE_FALSE(world->alive(i));
    world->machine(i).restart();
    auto log = store::segment_log::open(world->machine(i).disk(), "store", {});
    REQUIRE(log.ok());
    disks.push_back(readable(**log, newest));
    for (const auto& [id, bytes] : disks.back()) ++held[id];
    snapshot.insert(disks.back().begin(), disks.back().end());
    previous.merge(readable(**log, before));
    for (std::size_t rank = 0; rank < 8; ++rank) {
      const chunk_id& id = record.committed.manifests[rank];
      if (!disks.back().contains(id)) continue;
      manifests[rank] = store::read_manifest(codec.open(id, (*log)->get(id).value().view()).value().view()).value();
    }
  }
  std::uint64_t whole = 0;
  for (const auto& [id, bytes] : snapshot) whole += bytes;
  CHECK(whole >= 8 * 64 * chunk);
  CHECK(whole <= 8 * 66 * chunk);
  for (std::size_t i = 0; i < 8; ++i) {
    std::uint64_t share = 0;
    for (const auto& [id, bytes] : disks[i]) share += bytes;
    INFO("peer " << i << " has " << share << " of " << whole);
    CHECK(share > 0);
    CHECK(within_share(share, whole));
    for (const store::manifest& m : manifests) {  // and so for the cells of each rank
      std::size_t here = 0, cells = 0;
      for (const store::placed_chunk& c : store::chunks_of(m)) {
        if (c.bytes != chunk) continue;
        ++cells;
        here += disks[i].contains(c.id) ? 1 : 0;
      }
      INFO("and " << here << " chunks of rank " << m.rank.value());
      CHECK(cells == 64);
      CHECK(within_share(here, cells));
    }
  }
  for (const auto& [id, count] : held) CHECK(count >= copies);
  for (const chunk_id& manifest : record.committed.manifests) CHECK(held[manifest] >= copies);
  // A rank changed one chunk of its region; its few small variables are another.
  std::size_t fresh = 0;
  for (const auto& [id, bytes] : snapshot) fresh += previous.contains(id) ? 0 : 1;
  CHECK(fresh >= manifests.size() + 8);
  CHECK(fresh <= manifests.size() + 8 * 2);
}

/// Flips a bit in every 64 bytes of what a peer's store has on its disk, but for the first page
/// of each file: a store without a readable header would not open again.
void rot_all(observed_cluster& world, std::size_t peer) {
  const auto files = world->machine(peer).disk().list("store");
  REQUIRE(files.ok());
  for (const std::string& name : *files) {
    if (!name.ends_with(".seg")) continue;
    for (std::uint64_t at = 4096; world->machine(peer).storage().rot("store/" + name, at, 3).ok();)
      at += 64;
  }
}

TEST_CASE("a snapshot that rotted on one disk comes from others, and the disk is healed",
          "[promises]") {
  const auto program = small_program(halo);
  // A chunk for each stripe, nearly all of which never change and so are sent only once.
  constexpr std::uint32_t cells = 16 * chunk / 8;
  const std::string right = undisturbed(program, 5, 100, cells);
  observed_cluster world(program, cluster_of(5, 5, 100, cells));
  REQUIRE(world.run_to(event_kind::committed, 60s, 5));
  constexpr std::size_t rotten = 2, victim = 3;
  rot_all(world, rotten);
  world.crash(victim);
  check_end(world, right);
  INFO(world.log());
  CHECK(world.count(event_kind::evicted) > 0);
  std::size_t refused = 0, fetched_after = 0;
  std::set<std::string> damaged;
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::damaged) {
      ++refused;
      CHECK(s.peer == rotten);
      CHECK(s.what.text.find("has to be fetched from another holder") != std::string::npos);
      REQUIRE(s.what.text.starts_with("chunk "));
      damaged.insert(s.what.text.substr(6, chunk_id().brief().size()));
    }
    const bool whole = s.what.kind == event_kind::fetched && s.what.count >= 16 * chunk;
    fetched_after += whole && refused > 0 ? 1 : 0;
  }
  CHECK(refused > 0);
  CHECK(fetched_after > 0);
  CHECK(world.count(event_kind::healed) > 0);
  CHECK(world.count(event_kind::healed, rotten) == world.count(event_kind::healed));
  // What was found damaged can be read on that very disk again.
  REQUIRE(world->alive(rotten));
  const checkpoint::job_record& record = world->at(rotten).current_job()->record();
  const store::pin before_end{record.job, record.incarnation, record.previous.epoch};
  world.crash(rotten);
  (void)world->run_until([&] { return !world->alive(rotten); }, 1s);
  world->machine(rotten).restart();
  auto log = store::segment_log::open(world->machine(rotten).disk(), "store", {});
  REQUIRE(log.ok());
  std::size_t healed = 0;
  for (const auto& [id, bytes] : readable(**log, before_end)) healed += damaged.count(id.brief());
  CHECK(healed > 0);
  // Readers have also given back manifests of checkpoints that are gone by now.
  CHECK(healed <= world.count(event_kind::healed));
}

TEST_CASE("a full disk is told of and does not stop the commits of the others", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 4, 200, 4096);
  auto how = cluster_of(5, 4, 200, 4096);
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 5));
  // A peer without ranks: four ranks live on the first four members.
  std::size_t full = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    if (world->at(i).current_job()->now().ranks_here == 0) full = i;
  }
  auto& disk = world->machine(full).storage();
  disk.set_capacity(disk.used());
  REQUIRE(world.run_to(event_kind::warning));
  const auto& told = world.events().back();
  CHECK(told.peer == full);
  CHECK(told.what.text.find("the disk of " + world->machine(full).name() + ":/store is full") !=
        std::string::npos);
  CHECK(told.what.text.find("free some space") != std::string::npos);
  const auto committed = [&] { return world.record()->committed.epoch; };
  const epoch_number then = committed();
  REQUIRE(world->run_until([&] { return committed().value() >= then.value() + 4; }, 60s));
  CHECK(world.record()->state == checkpoint::job_state::running);
  CHECK(world.count(event_kind::warning) == 1);  // not once for each piece
  // All copies are there, on the four others.
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed && s.what.epoch > then && s.peer != full)
      CHECK(s.what.count == 3);
  }
  check_end(world, right);
  CHECK(world.count(event_kind::evicted) == 0);
}

TEST_CASE("a job that resumes with some of its peers waits for the copies of the others",
          "[promises]") {
  const auto program = small_program(halo);
  constexpr std::uint32_t cells = 16 * 1024;
  const std::string right = undisturbed(program, 7, 200, cells);
  constexpr std::size_t peers = 7;
  auto how = cluster_of(peers, 7, 200, cells);
  how.job.replicas = 2;  // so that three absent peers surely have all copies of some chunk
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 3 * peers));
  std::set<std::size_t> first;  // a majority of the keepers, and one more
  for (const node_id& keeper : world.record()->keepers) {
    if (first.size() < 3) first.insert(*world->index_of(keeper));
  }
  for (std::size_t i = 0; first.size() < 4; ++i) first.insert(i);
  for (std::size_t i = 0; i < peers; ++i) world->crash(i);
  REQUIRE(world->run_until([&] { return !world->alive(peers - 1); }, 1s));
  for (const std::size_t i : first) world->restart(i);
  // Longer than it takes to give the absent up as lost, and their copies too.
  (void)world->run_until([] { return false; }, 120s);
  REQUIRE(world.count(event_kind::evicted) > 0);
  for (const std::size_t i : first) REQUIRE_FALSE(world->outcome(i));
  CHECK(world.count(event_kind::warning) > 0);
  for (std::size_t i = 0; i < peers; ++i) {
    if (!first.contains(i)) world->restart(i);
  }
  check_end(world, right);
}

TEST_CASE("checkpoints go on when a new member changes what counts as apart", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 4, 100);
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed);
    auto how = cluster_of(3, 4, 100);
    how.network.seed = seed;
    how.spares = 1;
    how.checkpoint_interval = 5ms;  // one is always under way
    how.failure_domains = {"one", "one", "two", "three"};
    observed_cluster world(program, how);
    REQUIRE(world->run_until(
        [&] { return world.record() != nullptr && world.record()->live_count() == 4; }, 60s));
    const bool committed = world.run_to(event_kind::committed);
    INFO(world.log());
    REQUIRE(committed);
    check_end(world, right);
    CHECK(world.count(event_kind::evicted) == 0);
  }
}

}  // namespace
}  // namespace p2pdvm::test
