# `make install DESTDIR=… PREFIX=/usr` puts the program and everything around it in place. Packages are built with it.
# The program lies in a directory of its own, not among Python's packages: nobody else imports it, and it runs with
# whichever Python 3.11 or newer INTERPRETER names. BUNDLE=websockets puts that package beside it, for a system whose
# own is older than what pyproject.toml asks for (Debian 12); this needs a package index.
DESTDIR ?=
PREFIX ?= /usr
INTERPRETER ?= /usr/bin/python3
BUNDLE ?=
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
HOME_OF_CODE := $(PREFIX)/share/pseudoworker
DOCDIR ?= $(PREFIX)/share/doc/pseudoworker

.PHONY: install
install:
	install -d $(DESTDIR)$(HOME_OF_CODE) $(DESTDIR)$(PREFIX)/bin
	find pseudoworker '(' -name '*.py' -o -name py.typed ')' -exec cp --parents -t $(DESTDIR)$(HOME_OF_CODE) '{}' +
	find $(DESTDIR)$(HOME_OF_CODE) -type d -exec chmod 755 '{}' + -o -exec chmod 644 '{}' +
	sed -e 's|@INTERPRETER@|$(INTERPRETER)|' -e 's|@HOME_OF_CODE@|$(HOME_OF_CODE)|' packaging/launcher.in \
	  >$(DESTDIR)$(PREFIX)/bin/pseudoworker
	chmod 755 $(DESTDIR)$(PREFIX)/bin/pseudoworker
	$(if $(BUNDLE),python3 -m pip install --quiet --no-compile --no-deps --only-binary :all: --platform any \
	  --python-version 3.11 --implementation py --target $(DESTDIR)$(HOME_OF_CODE) $(BUNDLE))
	install -Dm644 -t $(DESTDIR)$(UNITDIR) packaging/systemd/*
	install -Dm644 -t $(DESTDIR)$(SYSUSERSDIR) packaging/sysusers.d/pseudoworker.conf
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man1 packaging/man/pseudoworker.1
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/bash-completion/completions packaging/completion/pseudoworker
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions packaging/completion/_pseudoworker
	install -Dm644 -t $(DESTDIR)$(DOCDIR) $(wildcard README.md) docs/*.md
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/examples packaging/examples/*
