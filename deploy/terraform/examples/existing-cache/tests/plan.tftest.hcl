# terraform test: plans the example; nothing is signed in to.

variables {
  cachewarmer_path = "versions.tf"
}

run "one_host" {
  command = plan

  assert {
    condition     = length(module.jobs.jobs) == 2
    error_message = "Each path is a job."
  }
  assert {
    condition     = keys(module.worker) == ["10.0.2.4"]
    error_message = "The manager's host reads too."
  }
}

run "more_hosts" {
  command = plan

  variables {
    worker_addresses = ["10.0.2.5", "10.0.2.6"]
  }

  assert {
    condition     = keys(module.worker) == ["10.0.2.4", "10.0.2.5", "10.0.2.6"] && keys(module.bootstrap) == keys(module.worker)
    error_message = "Each host has a folder and workers."
  }
}
