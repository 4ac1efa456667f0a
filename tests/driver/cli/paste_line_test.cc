#include "driver/cli/paste_line.h"

#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

RunStart External() {
  RunStart start;
  start.external = true;
  start.address = "127.0.0.1:7070";
  start.token_file = "/runs/a b/token";
  start.workers = 4;
  return start;
}

TEST(PasteLineTest, ShellWord_QuotesOnlyWhatNeedsIt) {
  EXPECT_EQ(ShellWord("/runs/a-1.2_b"), "/runs/a-1.2_b");
  EXPECT_EQ(ShellWord("a b"), "'a b'");
  EXPECT_EQ(ShellWord("it's $x"), "'it'\\''s $x'");
  EXPECT_EQ(ShellWord(""), "''");
}

TEST(PasteLineTest, ResumeLine_NamesTheProgram) {
  RunSummary summary;
  summary.run_dir = "/runs/a b";
  summary.listen = "127.0.0.1:0";
  EXPECT_EQ(ResumeLine("/repo/build/bin", summary),
            "/repo/build/bin/retort run --resume '/runs/a b'");
}

TEST(PasteLineTest, ResumeLine_ExternalWorkers_SameFlags) {
  RunSummary summary;
  summary.run_dir = "/runs/a";
  summary.external = true;
  summary.listen = "10.0.0.5:7070";
  summary.tls = {.certificate_file = "/c", .key_file = "/k k", .ca_file = "/a"};
  EXPECT_EQ(ResumeLine("/bin", summary),
            "/bin/retort run --resume /runs/a --workers=external --listen=10.0.0.5:7070 "
            "--tls-cert=/c '--tls-key=/k k' --tls-ca=/a");
}

TEST(PasteLineTest, WorkersLine_OffLoopback_TlsAndWhereToServe) {
  RunStart start = External();
  start.address = "10.0.0.5:7070";
  start.tls = {.certificate_file = "/c", .key_file = "/k", .ca_file = "/a"};
  EXPECT_EQ(WorkersLine("/none/lib/bin", start),
            "mpirun -n 4 /none/lib/bin/retort-worker --driver=10.0.0.5:7070 "
            "'--token-file=/runs/a b/token' --tls-cert=/c --tls-key=/k --tls-ca=/a "
            "--artifact-listen=10.0.0.5:0");
}

TEST(PasteLineTest, WorkersLine_LauncherOfTheCheckout) {
  const std::string repo = ::testing::TempDir() + "/paste_line_test";
  ASSERT_TRUE(MakeDirectories(repo + "/deploy").ok());
  ASSERT_TRUE(WriteFileAtomically(repo + "/deploy/mpirun.sh", "").ok());
  const std::string flags = " 4 --driver=127.0.0.1:7070 '--token-file=/runs/a b/token'";
  EXPECT_EQ(WorkersLine(repo + "/build/bin", External()), repo + "/deploy/mpirun.sh" + flags);
  EXPECT_EQ(WorkersLine(repo + "/debug/bin", External()),
            repo + "/deploy/mpirun.sh" + flags + " --worker=" + repo + "/debug/bin/retort-worker");
}

TEST(PasteLineTest, WorkersLine_NoCheckout_PlainMpirun) {
  EXPECT_EQ(WorkersLine("/none/lib/bin", External()),
            "mpirun -n 4 /none/lib/bin/retort-worker --driver=127.0.0.1:7070 "
            "'--token-file=/runs/a b/token'");
}

}  // namespace
}  // namespace retort::driver
