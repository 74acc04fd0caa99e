"""The API over HTTP: requests to verbs to answers. `app` is the application; kapi.apiserver puts a server together around it."""
