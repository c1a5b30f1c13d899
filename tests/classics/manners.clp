; configs/classics/manners.yaml for CLIPS: the same rules in the same order.
(deftemplate guest (slot name) (slot sex) (slot hobby))
(deftemplate next (slot from) (slot to))
(deftemplate last_seat (slot seat))
(deftemplate count (slot c))
(deftemplate context (slot state))
(deftemplate seating (slot id) (slot pid) (slot seat1) (slot name1) (slot name2) (slot seat2) (slot path_done))
(deftemplate path (slot id) (slot name) (slot seat))
(deftemplate chosen (slot id) (slot name) (slot hobby))
(deftemplate table (slot seat) (slot name))
(defrule assign_first_seat
  ?x <- (context (state start))
  (guest (name ?g))
  ?n <- (count (c ?c))
  (next (from ?c) (to ?d))
  =>
  (assert (seating (id ?c) (pid 0) (seat1 1) (name1 ?g) (name2 ?g) (seat2 1) (path_done yes)))
  (assert (path (id ?c) (name ?g) (seat 1)))
  (modify ?n (c ?d))
  (modify ?x (state assign_seats)))
(defrule find_seating
  ?x <- (context (state assign_seats))
  (seating (id ?id) (seat2 ?s2) (name2 ?a) (path_done yes))
  (guest (name ?a) (sex ?sex) (hobby ?h))
  (guest (name ?b) (sex ~?sex) (hobby ?h))
  ?n <- (count (c ?c))
  (next (from ?c) (to ?d))
  (next (from ?s2) (to ?s3))
  (not (path (id ?id) (name ?b)))
  (not (chosen (id ?id) (name ?b) (hobby ?h)))
  =>
  (assert (seating (id ?c) (pid ?id) (seat1 ?s2) (name1 ?a) (name2 ?b) (seat2 ?s3) (path_done no)))
  (assert (path (id ?c) (name ?b) (seat ?s3)))
  (assert (chosen (id ?id) (name ?b) (hobby ?h)))
  (modify ?n (c ?d))
  (modify ?x (state make_path)))
(defrule make_path
  (context (state make_path))
  (seating (id ?id) (pid ?pid) (path_done no))
  (path (id ?pid) (name ?n) (seat ?s))
  (not (path (id ?id) (name ?n)))
  =>
  (assert (path (id ?id) (name ?n) (seat ?s))))
(defrule path_done
  (declare (salience -10))
  ?x <- (context (state make_path))
  ?s <- (seating (path_done no))
  =>
  (modify ?s (path_done yes))
  (modify ?x (state check_done)))
(defrule are_we_done
  ?x <- (context (state check_done))
  (last_seat (seat ?l))
  (seating (seat2 ?l))
  =>
  (modify ?x (state print_results)))
(defrule continue
  (declare (salience -10))
  ?x <- (context (state check_done))
  =>
  (modify ?x (state assign_seats)))
(defrule print_results
  (context (state print_results))
  (last_seat (seat ?l))
  (seating (id ?id) (seat2 ?l))
  (path (id ?id) (name ?n) (seat ?s))
  (not (table (seat ?s)))
  =>
  (assert (table (seat ?s) (name ?n))))
(defrule all_done
  (declare (salience -10))
  ?x <- (context (state print_results))
  =>
  (modify ?x (state done)))
