// The one thread beside the loop: it waits for disks so that the loop does not have to. Jobs run in
// order; what follows a job is posted back to the loop.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "board/result.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

class SyncWorker {
public:
    explicit SyncWorker(boost::asio::io_context& loop);
    /// Finishes the jobs it has, then ends.
    ~SyncWorker();
    SyncWorker(const SyncWorker&) = delete;
    SyncWorker& operator=(const SyncWorker&) = delete;

    /// Loop thread. `job` runs on the worker's thread, `done` on the loop's.
    void run(std::function<Status()> job, std::function<void(Status)> done);

private:
    struct Job {
        std::function<Status()> work;
        std::function<void(Status)> done;
    };
    void work();

    boost::asio::io_context& loop_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    bool closing_ = false;
    std::thread thread_;
};

}  // namespace stele
