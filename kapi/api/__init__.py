"""The API over HTTP: requests to verbs to answers. `app` is the application, `apiserver` one server put together."""
