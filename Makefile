# The lab's commands. Each is one line over "python3 -m lab"; settings go through the environment.

PYTHON ?= python3
LAB = $(PYTHON) -m lab
export SERVICE NETEM DIRECTION SECONDS NAME CALIBRATE NEW CAPTURE REQUESTS RUN SUBMISSION DIR
# A stranger's folder name is no words of make's, nor (in the recipes) of the shell's.
override SUBMISSION := $(value SUBMISSION)
override DIR := $(value DIR)

.DEFAULT_GOAL := help
.PHONY: help up down netem scenario where reset experiment report capture ladder logs shell doctor
.PHONY: test test-judge test-vm grade grade-class bench fuzz lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set up what is missing, build, start, show what is in effect
	@$(LAB) up

down: ## stop and remove the lab: containers, network, volume
	@$(LAB) down

netem: ## show the network, or change it: SERVICE=udp NETEM="loss 30% delay 100ms" DIRECTION=to_server
	@$(LAB) netem

scenario: ## list the network conditions, or put one into effect and prove it: NAME=satellite (off)
	@$(LAB) scenario

where: ## a thousand pings: where did each go? drops, losses each way, beside theory; ARGS="--count 20"
	@$(LAB) where $(ARGS)

reset: ## bring back what make up set up, after any crash: every network, every server
	@$(LAB) reset

experiment: ## list the experiments, or measure one and draw its report: NAME=retries-and-loss
	@$(LAB) experiment

report: ## draw the report again, of the newest run or of NAME=retries-and-loss
	@$(LAB) report

capture: ## what a server's interface sees, for Wireshark: SERVICE=udp SECONDS=10 (or until Ctrl-C)
	@$(LAB) capture

ladder: ## draw a captured UDP run, time downwards: CAPTURE=file REQUESTS=1-30 (default: the newest)
	@$(LAB) ladder

logs: ## follow the logs, of all or of SERVICE=udp
	@$(LAB) logs

shell: ## look inside a container: SERVICE=udp (udp-netem for tc)
	@$(LAB) shell

doctor: ## what this machine has and lacks for the lab, with remedies
	@$(LAB) doctor

test: ## every test layer that this machine can run; ARGS="-k clock" for some
	@$(LAB) test $(ARGS)

test-judge: ## the judge itself: every program of tests/submissions gets what it deserves (ARGS)
	@$(LAB) test-judge $(ARGS)

test-vm: ## the lab and netem layers on a stock kernel, in an emulated Debian 13 machine
	@$(PYTHON) -m lab.vm test -- $(ARGS)

grade: ## judge a submission: SUBMISSION=path
	@$(LAB) grade $(if $(SUBMISSION),"$$SUBMISSION") $(if $(TRUST),--trust-dockerfile)

grade-class: ## judge a class, a submission in each subfolder: DIR=path; goes on where it stopped
	@$(LAB) grade-class $(if $(DIR),"$$DIR") $(if $(TRUST),--trust-dockerfile)

bench: ## the figures of the README, measured here; NAME=lab for one
	@$(LAB) bench $(NAME)

fuzz: ## hostile bytes for the HTTP core, a minute of them; SECONDS=600 for more
	@$(PYTHON) -m tests.fuzz

lint: ## formatting, lint and types
	@$(LAB) lint

clean: ## down, and remove images and caches too
	@$(LAB) clean
